"""Lightning's Trainer with two options that it lacks; `sr.model.layout` applies them at the start of training."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict, Unpack

import torch
from annotated_types import MinLen, doc
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning import Trainer as LightningTrainer

from sr.runtime.error import UserError
from sr.runtime.option_types import NonEmptyStr, NonNegativeInt, PositiveFloat, PositiveInt

GPUNumbers = Annotated[Sequence[NonNegativeInt], MinLen(1), doc("a list of GPU numbers such as [0,1]")]


class LightningOptions(TypedDict, total=False):
    """Lightning's own options of which it takes more values than make sense here; those not listed are passed on, too."""

    max_steps: PositiveInt | Literal[-1]
    max_epochs: PositiveInt | Literal[-1] | None
    val_check_interval: PositiveInt
    accumulate_grad_batches: PositiveInt
    devices: PositiveInt | GPUNumbers | Literal["auto"]
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps", "tpu"]
    num_nodes: PositiveInt
    strategy: NonEmptyStr
    precision: Literal["32-true", "32", 32, "bf16-mixed", "16-mixed"]
    gradient_clip_val: PositiveFloat | None
    deterministic: bool | Literal["warn"]
    benchmark: bool | None


class Trainer(LightningTrainer):
    """`channels_last`: weights of the net and batches have the memory format `torch.channels_last`. `compile`:
    torch.compile with its default backend (True), or with the named one."""

    def __init__(
        self, *, channels_last: bool = False, compile: bool | NonEmptyStr = False, **options: Unpack[LightningOptions]
    ) -> None:
        if not isinstance(compile, bool) and compile not in torch.compiler.list_backends(exclude_tags=()):
            backends = ", ".join(torch.compiler.list_backends())
            raise UserError(f"trainer.compile={compile}: expected true, false, or one of eager, {backends}")
        if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():  # torchrun can start tasks of SLURM
            options["plugins"] = SLURMEnvironment(auto_requeue=False)  # sr.runtime.signals and resume=auto do that
        super().__init__(**options)
        self.channels_last, self.compile = channels_last, compile
