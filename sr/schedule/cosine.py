"""Cosine decay with warm-up (Loshchilov and Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983, eq. 5, no restart)."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.schedule.clock import warmed


def cosine(optimizer: Optimizer, total: int, warmup: float = 50, final: float = 0.0) -> LambdaLR:
    """The rate rises linearly for `warmup` steps (below 1: fraction of `total`), and falls to `final`, a fraction of it,
    at step `total`; the fall begins at step 0, and both are multiplied."""

    def factor(step: int) -> float:
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total))))

    return warmed(optimizer, total, warmup, factor)
