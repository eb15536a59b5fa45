"""What is left behind of a training that failed: the batch that it failed on, and advice where memory ran out."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer

from sr.inference.memory import is_out_of_memory
from sr.model.guard import ExplodedError
from sr.model.module import SRModule
from sr.runtime.error import UserError


class CrashBatch(Callback):
    """Saves the batch of the last bad step as `offending_step_N.pt` (`lr` and `hr`, float 0…1), and says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_exception(self, trainer: Trainer, module: SRModule, exception: BaseException) -> None:
        if isinstance(exception, ExplodedError) and trainer.is_global_zero:
            path = self.folder / f"offending_step_{exception.step}.pt"
            torch.save({name: image.cpu() for name, image in exception.batch._asdict().items()}, path)
            exception.args = (f"{exception}. What it was fed is in {path}",)
        elif isinstance(exception, RuntimeError) and is_out_of_memory(exception) and trainer.training:
            raise UserError(_advice(trainer)) from exception


def _advice(trainer: Trainer) -> str:
    """The same training in less memory: half the batch, twice as often."""
    batch = trainer.datamodule.batch
    accumulate = getattr(trainer.lightning_module, "accumulate", trainer.accumulate_grad_batches)
    words = f"step {trainer.global_step} does not fit in memory: data.batch={batch}"
    if batch == 1:
        return f"{words} already; lower data.patch, or choose a smaller net"
    half = f"data.batch={(batch + 1) // 2} trainer.accumulate_grad_batches={2 * accumulate} needs about half"
    return f"{words} is too much. {half} and trains alike; trainer.precision=bf16-mixed saves as well"
