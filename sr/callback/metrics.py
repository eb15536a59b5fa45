"""Log the signals of every step and the metrics of every validation to the tracker."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.model.module import SRModule
from sr.track.columns import name_columns
from sr.track.tracker import Tracker


class MetricLogger(Callback):
    """Logs everything at the step of the generator (`global_step`)."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._step = 0  # the last one that was logged

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        self._step = trainer.global_step  # of a resumed run: its first batches may not be a whole step

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if trainer.global_step != self._step and module.signals:  # under accumulation, several batches are one step
            self._step = trainer.global_step
            self.tracker.log_points(_average_over_processes(trainer, module.signals), self._step)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        values = {key: value for key, value in module.metrics.items() if key.stage == "val"}
        values |= {k._replace(weights="bicubic"): value for k, value in module.bicubic.items() if k.stage == "val"}
        values |= {key._replace(checkpoint="best"): value for key, value in module.best.values.items()}
        columns = name_columns(values, trainer.datamodule, module.metric)
        columns |= {"best/step": module.best.step} if module.best.values else {}
        self.tracker.log_points(columns, trainer.global_step)


def _average_over_processes(trainer: Trainer, signals: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
    if trainer.world_size == 1:
        return signals
    device = trainer.strategy.root_device
    values = torch.stack([torch.as_tensor(v, dtype=torch.float32, device=device) for v in signals.values()])
    return dict(zip(signals, trainer.strategy.reduce(values, reduce_op="mean"), strict=True))
