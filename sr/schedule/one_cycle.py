"""One cycle: a long rise to a high rate, a longer fall to almost nothing (Smith and Topin, "Super-Convergence: very fast
training of neural networks using large learning rates", 2018, https://arxiv.org/abs/1708.07120).

Unlike the paper, and as fastai and torch do it: half cosines instead of straight lines, the rise shorter than the fall,
and the fall goes on to nearly zero in one curve. Momentum stays as it is, and is not cycled against the rate.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.schedule.clock import warmup_steps


def one_cycle(
    optimizer: Optimizer, total: int, warmup: float = 0.3, start: float = 0.04, final: float = 4e-6
) -> LambdaLR:
    """The rate rises from `start`, a fraction of it, for `warmup` steps (below 1: fraction of `total`), and falls to
    `final`, a fraction of it as well, at step `total`."""
    rise = warmup_steps(warmup, total)

    def factor(step: int) -> float:
        if step < rise:
            return _between(start, 1.0, step / rise)
        return _between(1.0, final, min(1.0, (step - rise) / max(1, total - rise)))

    return LambdaLR(optimizer, factor)


def _between(first: float, last: float, way: float) -> float:
    """From `first` to `last` along half a cosine, `way` 0…1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * way))
