"""Cosine decay with warm-up (Loshchilov and Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983, eq. 5, no restart)."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(optimizer: Optimizer, total: int, warmup: int = 50, final: float = 0.0) -> LambdaLR:
    """The rate rises linearly for `warmup` steps, then falls to `final` (a fraction of it) at step `total`."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        return rise * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total)))))

    return LambdaLR(optimizer, factor)
