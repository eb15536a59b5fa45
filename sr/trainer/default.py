"""Lightning's Trainer with two options that it lacks; `sr.model.layout` applies them at the start of training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from typing import Any

import torch
from pytorch_lightning import Trainer as LightningTrainer

from sr.runtime.error import UserError


class Trainer(LightningTrainer):
    """`channels_last`: weights of the net and batches have the memory format `torch.channels_last`. `compile`:
    torch.compile with its default backend (True), or with the named one."""

    def __init__(self, *, channels_last: bool = False, compile: bool | str = False, **options: Any) -> None:
        if not isinstance(channels_last, bool):
            raise UserError(f"trainer.channels_last={channels_last}: expected true or false")
        if not isinstance(compile, bool) and compile not in torch.compiler.list_backends(exclude_tags=()):
            backends = ", ".join(torch.compiler.list_backends())
            raise UserError(f"trainer.compile={compile}: expected true, false, or one of eager, {backends}")
        super().__init__(**options)
        self.channels_last, self.compile = channels_last, compile
