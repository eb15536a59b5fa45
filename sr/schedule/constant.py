"""A constant learning rate, with an optional linear warm-up."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.schedule.clock import warmed


def constant(optimizer: Optimizer, total: int, warmup: float = 0) -> LambdaLR:
    """The rate rises linearly for `warmup` steps (below 1: fraction of `total`) and stays."""
    return warmed(optimizer, total, warmup, lambda step: 1.0)
