"""A constant learning rate, with an optional linear warm-up."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.option_types import Length
from sr.schedule.warmup import add_warmup


def constant(optimizer: Optimizer, total: int, warmup: Length = 0) -> LambdaLR:
    """Build a schedule that rises linearly for `warmup` steps (below 1: fraction of `total`) and is constant then."""
    return add_warmup(optimizer, total, warmup, lambda step: 1.0)
