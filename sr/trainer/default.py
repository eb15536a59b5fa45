"""Lightning's Trainer with the dials that it lacks; SRModule reads them at the start of training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from typing import Any

import torch
from pytorch_lightning import Trainer as LightningTrainer

from sr.runtime.error import UserError


class Trainer(LightningTrainer):
    """`channels_last`: the net's weights and batches lie in memory with channels innermost. `compile`: torch.compile,
    of its usual backend (True), or of the one named."""

    def __init__(self, *, channels_last: bool = False, compile: bool | str = False, **dials: Any) -> None:
        if not isinstance(channels_last, bool):
            raise UserError(f"trainer.channels_last={channels_last}: expected true or false")
        if not isinstance(compile, bool) and compile not in torch.compiler.list_backends(exclude_tags=()):
            usual = ", ".join(torch.compiler.list_backends())
            raise UserError(f"trainer.compile={compile}: expected true, false, or one of eager, {usual}")
        super().__init__(**dials)
        self.channels_last, self.compile = channels_last, compile
