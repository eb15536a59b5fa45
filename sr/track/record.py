"""From the training loop to the tracker: every step's signals, every validation's metrics."""

from pytorch_lightning import Callback, Trainer

from sr.model.module import SRModule
from sr.track.none import Nothing


class Record(Callback):
    """All x-axes are the generator's steps."""

    def __init__(self, track: Nothing) -> None:
        self.track = track
        self._seen = 0

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if trainer.global_step != self._seen:  # under accumulation, several batches are one step
            self._seen = trainer.global_step
            self.track.points(module.signals, self._seen)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        shown = {k: v for k, v in module.metrics.items() if k.startswith("val/")}
        shown |= {f"{k}_bicubic": v for k, v in module.bicubic.items() if k.startswith("val/")}
        shown |= {f"best/{k}": v for k, v in module.best.items()}
        self.track.points(shown, trainer.global_step)
