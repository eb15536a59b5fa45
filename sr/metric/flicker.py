"""`metric/also=[flicker]`: how much changes from frame to frame that does not change in HR?

At the pixels that do not move, the mean of max(0, |change of the result| - |change of HR|), in levels of 8 bits: the excess
change of Yang, Boyce and Stein, "Effective flicker removal from periodic intra frames and accurate flicker measurement",
2008, https://doi.org/10.1109/ICIP.2008.4712394, of single pixels and without their threshold of visibility. Noise of
deviation σ in each frame of a scene that is still has 2σ/√π; a blurred clip has 0, as HR has.
"""

from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.motion import (
    MIN_STATIC,
    MIN_VISIBLE,
    STATIC,
    describe_motion,
    find_motion,
    import_opencv,
)


class Flicker(Metric):
    """The flicker of each frame; the first of a clip has none, nor has a frame in which nearly everything moves: nan."""

    unit = "levels"
    better: Literal["higher", "lower"] = "lower"
    needs_previous = True
    label = "flicker_dis"  # what is static depends on the method of optical flow

    def __init__(self) -> None:
        import_opencv("metric/also=[flicker]")
        self.definition = (
            f"mean of max(0, |change| - |change of HR|) over pixels that move less than {STATIC} pixels, at least "
            f"{MIN_STATIC:.0%} of all, in levels of 8 bits; {describe_motion()}"
        )

    def __call__(self, images: MetricInput, previous: MetricInput | None = None) -> Tensor:
        """Return `[B]`, 0 or more, or nan; `previous` are the frames before these."""
        if previous is None:
            return torch.full((len(images.x),), torch.nan, dtype=torch.float64, device=images.x.device)
        return torch.stack([_measure(images, previous, k) for k in range(len(images.x))])


def _measure(images: MetricInput, previous: MetricInput, k: int) -> Tensor:
    border = (images.hr.shape[-1] - images.y.shape[-1]) // 2
    motion = find_motion(images.hr[k], previous.hr[k]).crop(border)
    if motion.visible.double().mean() < MIN_VISIBLE or motion.static.double().mean() < MIN_STATIC:
        return images.x.new_tensor(torch.nan)
    change, change_of_hr = (
        (now[k] - before[k])[:, motion.static].abs() for now, before in ((images.x, previous.x), (images.y, previous.y))
    )
    return (change - change_of_hr).clamp(min=0).mean()
