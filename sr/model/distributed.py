"""Training in several processes (`trainer=ddp`): random numbers, decisions and buffers."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from collections.abc import Iterable

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from sr.runtime.signals import signals


def seed_process(trainer: Trainer) -> None:
    """Seed PyTorch's RNG by rank: all processes start from one seed, but noise and crop positions must differ."""
    if trainer.global_rank:
        torch.manual_seed(torch.initial_seed() + trainer.global_rank)


def average_over_processes(values: Tensor, trainer: Trainer) -> list[float]:
    """Return the means of `values` `[N]` over all processes, so that all take the same decision from them.

    The same message shares whether one of them has received Ctrl-C or SIGTERM, at no further cost.
    """
    if trainer.world_size == 1:
        return values.tolist()
    is_received = values.new_tensor([signals.received is not None])
    share, *means = trainer.strategy.reduce(torch.cat([is_received, values]), reduce_op="mean").tolist()
    signals.share_request(share > 0)
    return means


def broadcast_buffers(buffers: Iterable[Tensor], trainer: Trainer) -> None:
    """Copy the first process's buffers to all: batch norm statistics differ, and the first process's are saved."""
    if trainer.world_size > 1:
        for buffer in buffers:
            torch.distributed.broadcast(buffer, 0)
