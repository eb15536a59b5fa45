"""One cycle: a rise to a high learning rate, then a longer fall to almost nothing (Smith and Topin, "Super-Convergence:
very fast training of neural networks using large learning rates", 2018, https://arxiv.org/abs/1708.07120).

Unlike the paper, and as fastai and PyTorch do it: half cosines instead of straight lines, the rise shorter than the fall,
and the fall continues to nearly zero in one curve. The momentum is constant, and not cycled against the learning rate.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.option_types import Fraction, Length
from sr.schedule.warmup import count_warmup_steps


def one_cycle(
    optimizer: Optimizer, total: int, warmup: Length = 0.3, start_factor: Fraction = 0.04, final_factor: Fraction = 4e-6
) -> LambdaLR:
    """Build a schedule that rises from `start_factor` times the learning rate for `warmup` steps (below 1: fraction of
    `total`), and falls to `final_factor` times the learning rate at step `total`."""
    rise = count_warmup_steps(warmup, total)

    def factor(step: int) -> float:
        if step < rise:
            return _interpolate(start_factor, 1.0, step / rise)
        return _interpolate(1.0, final_factor, min(1.0, (step - rise) / max(1, total - rise)))

    return LambdaLR(optimizer, factor)


def _interpolate(first: float, last: float, position: float) -> float:
    """Interpolate from `first` to `last` along half a cosine; `position` is 0…1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * position))
