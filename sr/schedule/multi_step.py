"""A learning rate that falls in steps, as EDSR, RCAN and ESRGAN were trained (Lim et al., "Enhanced Deep Residual Networks
for Single Image Super-Resolution", 2017, https://arxiv.org/abs/1707.02921, section 4.2: halved every 2·10⁵ updates)."""

import warnings

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sr.runtime.option_types import Length, Milestones, PositiveFraction
from sr.runtime.terminal import format_count
from sr.schedule.warmup import add_warmup, count_steps


def multi_step(
    optimizer: Optimizer,
    total: int,
    warmup: Length = 0,
    milestones: Milestones = (0.5, 0.75),
    gamma: PositiveFraction = 0.5,
) -> LambdaLR:
    """Build a schedule that rises linearly for `warmup` steps and is multiplied by `gamma` at each of the `milestones`.

    Each length is a number of steps or, below 1, a fraction of `total`; the order does not matter.
    """
    steps = [count_steps(milestone, total, "model.schedule.milestones") for milestone in milestones]
    late = [milestone for milestone, step in zip(milestones, steps, strict=True) if step >= total]
    if late:
        warnings.warn(
            f"model.schedule.milestones={late}: never reached, with {format_count(total, 'step')} in all", stacklevel=2
        )
    return add_warmup(optimizer, total, warmup, lambda step: gamma ** sum(step >= at for at in steps))
