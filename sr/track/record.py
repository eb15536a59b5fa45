"""From the training loop to the tracker: every step's signals, every validation's metrics."""

import re
from collections.abc import Mapping

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from sr.data.module import SRData
from sr.metric.protocol import Protocol
from sr.model.module import SRModule
from sr.track.none import Nothing

_MEASURED = re.compile(r"((?:best/)?(val|test)/)([^/]+)(/.+)")


class Record(Callback):
    """All x-axes are the generator's steps."""

    def __init__(self, track: Nothing) -> None:
        self.track = track
        self._seen = 0

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        self._seen = trainer.global_step  # of a run that goes on: its first batches may not be a whole step

    def on_train_batch_end(self, trainer: Trainer, module: SRModule, *_: object) -> None:
        if trainer.global_step != self._seen and module.signals:  # under accumulation, several batches are one step
            self._seen = trainer.global_step
            self.track.points(_of_all(trainer, module.signals), self._seen)

    def on_validation_end(self, trainer: Trainer, module: SRModule) -> None:
        shown = {k: v for k, v in module.metrics.items() if k.startswith("val/")}
        shown |= {f"{k}_bicubic": v for k, v in module.bicubic.items() if k.startswith("val/")}
        shown |= {f"best/{k}": v for k, v in module.best.items()}
        self.track.points(in_columns(shown, trainer.datamodule, module.metric), trainer.global_step)


def _of_all(trainer: Trainer, signals: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
    """The means over all processes."""
    if trainer.world_size == 1:
        return signals
    values = torch.stack(
        [torch.as_tensor(v, dtype=torch.float32, device=trainer.strategy.root_device) for v in signals.values()]
    )
    return dict(zip(signals, trainer.strategy.reduce(values, reduce_op="mean"), strict=True))


def in_columns(values: Mapping[str, float], data: SRData, protocol: Protocol) -> dict[str, float]:
    """`val/Set5/psnr` becomes `val/Set5 x2 edsr/psnr`, in a tracker where all runs share their columns: what differs
    in scale, protocol, or in how LR was made, has a column of its own."""
    return {_column(name, data, protocol): value for name, value in values.items()}


def _column(name: str, data: SRData, protocol: Protocol) -> str:
    found = _MEASURED.fullmatch(name)
    if not found:
        return name
    before, part, set_name, measure = found.groups()
    names = [data.set_name(part, k) for k in range(len(data.sets[part]))]
    lr = data.lr_from(part, names.index(set_name))
    made = "" if lr == protocol.usual_lr else " " + re.sub(r"\W+", "-", lr).strip("-")[:60]
    return f"{before}{set_name} x{protocol.scale} {protocol.name}{made}{measure}"
