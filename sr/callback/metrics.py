"""From the training loop to the tracker: every step's signals, every validation's metrics."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.model.module import SRModule
from sr.track.columns import name_columns
from sr.track.tracker import Tracker


class MetricLogger(Callback):
    """All x-axes are the generator's steps."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._seen = 0

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        self._seen = trainer.global_step  # of a run that goes on: its first batches may not be a whole step

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if trainer.global_step != self._seen and module.signals:  # under accumulation, several batches are one step
            self._seen = trainer.global_step
            self.tracker.log_points(_of_all(trainer, module.signals), self._seen)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        values = {key: value for key, value in module.metrics.items() if key.stage == "val"}
        values |= {k._replace(weights="bicubic"): value for k, value in module.bicubic.items() if k.stage == "val"}
        values |= {key._replace(checkpoint="best"): value for key, value in module.best.values.items()}
        columns = name_columns(values, trainer.datamodule, module.metric)
        columns |= {"best/step": module.best.step} if module.best.values else {}
        self.tracker.log_points(columns, trainer.global_step)


def _of_all(trainer: Trainer, signals: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
    """The means over all processes."""
    if trainer.world_size == 1:
        return signals
    values = torch.stack(
        [torch.as_tensor(v, dtype=torch.float32, device=trainer.strategy.root_device) for v in signals.values()]
    )
    return dict(zip(signals, trainer.strategy.reduce(values, reduce_op="mean"), strict=True))
