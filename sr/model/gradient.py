"""The gradient of a step: its norm, clipping, the share of each loss term, and overflow in half precision."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import math
from collections.abc import Mapping

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer


def list_trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require a gradient."""
    return [p for p in module.parameters() if p.requires_grad]


def list_parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimizer, group by group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def measure_norm(gradients: list[Tensor]) -> Tensor:
    """Return the norm of all gradients together, on one device: `torch.nn.utils.get_total_norm` in half of its time."""
    if not gradients:
        return torch.tensor(0.0)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradient(parameters: list[nn.Parameter], max_norm: float | None) -> Tensor:
    """Scale the gradient down to `max_norm`, if there is one; return its norm before that."""
    norm = measure_norm([p.grad for p in parameters if p.grad is not None])
    if max_norm:
        clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def get_loss_scale(trainer: Trainer) -> float:
    """Return the factor on the loss in `trainer.precision=16-mixed`; 1.0 in any other precision."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else scaler.get_scale()


def is_overflow(trainer: Trainer, norm: float, loss: float | None) -> bool:
    """Return True if the gradient is infinite only because of the loss scale: the scaler skips such a step by itself."""
    return get_loss_scale(trainer) > 1 and not math.isfinite(norm) and math.isfinite(loss or 0)


def gradient_shares(terms: Mapping[str, Tensor], parameters: list[nn.Parameter]) -> dict[str, Tensor]:
    """Return the share of each loss term in the gradient: its gradient's norm over the sum of all norms, 0…1.

    Costs one backward pass for each term; the graph is retained.
    """
    norms = {}
    for name, term in terms.items():
        gradient = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        norms[name] = measure_norm([g for g in gradient if g is not None])
    total = sum(norms.values()).clamp_min(1e-30)
    return {name: norm / total for name, norm in norms.items()}
