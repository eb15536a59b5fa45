"""Snapshots of a training in memory, to which the guard returns after repeated bad steps."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import copy
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule


class Snapshot(NamedTuple):
    """A copy on the CPU of everything that a step changes."""

    step: int
    weights: dict[str, Any]
    optimizers: list[dict[str, Any]]


def take_snapshot(module: LightningModule, step: int) -> Snapshot:
    """Copy the weights, buffers and optimizer states to the CPU."""
    weights = {name: _copy(value) for name, value in module.state_dict().items()}
    return Snapshot(step, weights, [_copy(optimizer.state_dict()) for optimizer in module.trainer.optimizers])


def restore_snapshot(module: LightningModule, snapshot: Snapshot, lr_factor: float) -> None:
    """Restore the snapshot, and multiply every learning rate by `lr_factor` from now on."""
    module.load_state_dict(snapshot.weights)
    for optimizer, state in zip(module.trainer.optimizers, snapshot.optimizers, strict=True):
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict(copy.deepcopy(state))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr_factor * rate
            group["initial_lr"] = lr_factor * group.get("initial_lr", rate)
    for config in module.trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [lr_factor * rate for rate in config.scheduler.base_lrs]


def _copy(value: Any) -> Any:
    """Return a copy on the CPU of any value of a state dict."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(part) for part in value]
    return copy.copy(value)
