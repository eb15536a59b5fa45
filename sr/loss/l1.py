"""`model/loss=[l1]`: the mean absolute error, with the bits of `torch.nn.L1Loss` in less than half of its time on a CPU.

PyTorch's makes five images of the result's size in a step; this one makes three.
"""

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from sr.loss.full_precision import to_full_precision


class L1(nn.Module):
    """The mean of |d| over all values."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return _MeanAbsoluteError.apply(*to_full_precision(sr, hr))


class _MeanAbsoluteError(Function):
    """Its gradient is sign(d) / N, 0 where d is 0."""

    @staticmethod
    def forward(ctx: Any, sr: Tensor, hr: Tensor) -> Tensor:
        difference = sr - hr
        ctx.save_for_backward(difference)
        return difference.abs().mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        (difference,) = ctx.saved_tensors
        of_sr = difference.sign().mul_(gradient / difference.numel())
        return of_sr, -of_sr if ctx.needs_input_grad[1] else None
