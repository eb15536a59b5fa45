"""`metric/also=[warping_error]`: how steady is a clip along its motion? (Lai et al., "Learning Blind Video Temporal
Consistency", 2018, https://arxiv.org/abs/1808.00449, eq. 9 and 10.)

Each frame is compared with the frame before it, moved by the optical flow of HR, at the pixels that are seen in both. Here
the number is the root of their mean square, in levels of 8 bits, of what the protocol measures; there it is the mean square
of RGB in 0…1, by FlowNet2, without pixels at motion boundaries. **Less is steadier, not better**: a blurred clip has less
than HR itself, whose own value an evaluation reports.
"""

from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.motion import MIN_VISIBLE, describe_motion, find_motion, import_opencv, warp


class WarpingError(Metric):
    """The warping error of each frame; the first of a clip, and the first after a cut, have none: nan."""

    unit = "levels"
    better: Literal["higher", "lower"] = "lower"
    needs_previous = True
    label = "warping_error_dis"  # other methods of optical flow give other numbers

    def __init__(self) -> None:
        import_opencv("metric/also=[warping_error]")
        self.definition = f"root mean square over visible pixels, in levels of 8 bits; {describe_motion()}"

    def __call__(self, images: MetricInput, previous: MetricInput | None = None) -> Tensor:
        """Return `[B]`, 0 or more, or nan; `previous` are the frames before these."""
        if previous is None:
            return torch.full((len(images.x),), torch.nan, dtype=torch.float64, device=images.x.device)
        return torch.stack([_measure(images, previous, k) for k in range(len(images.x))])


def _measure(images: MetricInput, previous: MetricInput, k: int) -> Tensor:
    border = (images.hr.shape[-1] - images.y.shape[-1]) // 2
    motion = find_motion(images.hr[k], previous.hr[k]).crop(border)
    if motion.visible.double().mean() < MIN_VISIBLE:
        return images.x.new_tensor(torch.nan)
    difference = images.x[k] - warp(previous.x[k], motion)
    return difference[:, motion.visible].square().mean().sqrt()
