"""Save the batch that a training failed on, and advise what to do if it ran out of memory."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer

from sr.inference.memory import is_out_of_memory
from sr.model.error import ExplodedError
from sr.model.module import SRModule
from sr.record.run_file import create_file
from sr.runtime.error import UserError


class CrashBatch(Callback):
    """Saves the batch of the last bad step as `offending_step_N.pt` (`lr` and `hr`, float 0…1), and reports its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_exception(self, trainer: Trainer, module: SRModule, exception: BaseException) -> None:
        if isinstance(exception, ExplodedError) and trainer.is_global_zero:
            path = self.folder / f"offending_step_{exception.step}.pt"
            with create_file(path) as file:
                torch.save({name: image.cpu() for name, image in exception.batch._asdict().items()}, file)
            exception.args = (f"{exception}. The batch of that step is in {path}",)
        elif isinstance(exception, RuntimeError) and is_out_of_memory(exception) and trainer.training:
            raise UserError(_advise_less_memory(trainer)) from exception


def _advise_less_memory(trainer: Trainer) -> str:
    """Return a message with the options of the same training with half the batch, accumulated twice as often."""
    batch = trainer.datamodule.batch
    accumulate = getattr(trainer.lightning_module, "accumulate", trainer.accumulate_grad_batches)
    message = f"step {trainer.global_step} does not fit in memory: data.batch={batch}"
    if batch == 1:
        return f"{message} already; lower data.patch, or choose a smaller net"
    half = f"data.batch={(batch + 1) // 2} trainer.accumulate_grad_batches={2 * accumulate}"
    return (
        f"{message} is too much. {half} needs about half of it for an equal training; "
        f"trainer.precision=bf16-mixed needs less as well"
    )
