"""What all schedules share: lengths in steps or as a share of the training, the warm-up, and being a function of the step.

A schedule knows nothing but the step it is at, so that one that is resumed goes on exactly where it was.
"""

import warnings
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.error import UserError


def steps(length: float, total: int, key: str) -> int:
    """`length` in steps: below 1 it is a fraction of `total`, else a whole number. `key` is the dial that it came from."""
    if isinstance(length, bool) or not isinstance(length, int | float) or length < 0 or (length > 1 and length % 1):
        raise UserError(f"{key}={length}: expected a whole number of steps, or a fraction of the training from 0 to 1")
    return round(length * total) if length < 1 else int(length)


def warmup_steps(warmup: float, total: int) -> int:
    """Likewise, with a warning where the warm-up is all there is."""
    found = steps(warmup, total, "model.schedule.warmup")
    if found >= total:
        warnings.warn(
            f"model.schedule.warmup={warmup}: with {total} steps in all, the rate that was set is never reached",
            stacklevel=3,
        )
    return found


def warmed(optimizer: Optimizer, total: int, warmup: float, factor: Callable[[int], float]) -> LambdaLR:
    """The rate times `factor(step)`, and times a linear rise over the first `warmup` steps."""
    rise = warmup_steps(warmup, total)
    return LambdaLR(optimizer, lambda step: factor(step) * min(1.0, (step + 1) / max(1, rise)))
