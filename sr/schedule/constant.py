"""A constant learning rate, with an optional linear warm-up."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(optimizer: Optimizer, total: int, warmup: int = 0) -> LambdaLR:
    """The rate rises linearly for `warmup` steps and stays; `total` is there because every schedule is told it."""
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup)))
