"""Cosine decay with warm-up (Loshchilov and Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983, eq. 5, no restart)."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.option_types import Fraction, Length
from sr.schedule.warmup import add_warmup


def cosine(optimizer: Optimizer, total: int, warmup: Length = 50, final_factor: Fraction = 0.0) -> LambdaLR:
    """Build a schedule that rises linearly for `warmup` steps (below 1: fraction of `total`) and falls to `final_factor`
    times the learning rate at step `total`; the fall begins at step 0, and both are multiplied."""

    def factor(step: int) -> float:
        return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total))))

    return add_warmup(optimizer, total, warmup, factor)
