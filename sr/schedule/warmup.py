"""The parts that all schedules share: lengths in steps or as a fraction of the training, and the linear warm-up.

A schedule is a function of the step alone, so that a resumed training continues it exactly.
"""

import warnings
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.error import UserError
from sr.runtime.terminal import format_count


def count_steps(length: float, total: int, option: str) -> int:
    """Return `length` in steps: below 1 it is a fraction of `total`, else a whole number of steps.

    `option` is the option that it comes from, for the error message.
    """
    if isinstance(length, bool) or not isinstance(length, int | float) or length < 0 or (length > 1 and length % 1):
        raise UserError(
            f"{option}={length}: expected a whole number of steps, or a fraction of the training from 0 to 1"
        )
    return round(length * total) if length < 1 else int(length)


def count_warmup_steps(warmup: float, total: int) -> int:
    """Return the length of the warm-up in steps; warn if it is longer than the training."""
    steps = count_steps(warmup, total, "model.schedule.warmup")
    if steps >= total:
        warnings.warn(
            f"model.schedule.warmup={warmup}: with {format_count(total, 'step')} in all, the learning rate of the optimizer is "
            f"never reached",
            stacklevel=3,
        )
    return steps


def add_warmup(optimizer: Optimizer, total: int, warmup: float, factor: Callable[[int], float]) -> LambdaLR:
    """Multiply the learning rate by `factor(step)`, and by a linear rise over the first `warmup` steps."""
    rise = count_warmup_steps(warmup, total)
    return LambdaLR(optimizer, lambda step: factor(step) * min(1.0, (step + 1) / max(1, rise)))
