"""`model/alarm=[over_sharpening]`: edges of the results are higher than HR's: halos, and detail that overshoots.

A net that is unsure makes edges lower, never higher; one that was trained on blurrier pictures than it is given, or that
is paid for contrast, overshoots.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule
from sr.image.color import rgb_to_luma
from sr.image.resize import upscale_bicubic


class OverSharpening(Rule):
    """Where the input shows detail, the results have more than `gain` times as much of it as HR: at 1.2 the power of
    that detail is 1.6 dB above HR's, all of it overshoot. Detail or noise elsewhere is not counted.
    """

    advice = "lower model.weight, or leave out of model/loss what rewards contrast; are LR made as in training?"

    def __init__(self, gain: float = 1.2) -> None:
        self.gain = gain
        self._pulls: list[Tensor] = []  # [2]: detail of results and of HR along that of the input

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        scale = hr.shape[-1] // lr.shape[-1]
        shown, ours, theirs = (_detail(i, scale) for i in (upscale_bicubic(lr.float(), scale), sr, hr))
        self._pulls.append(torch.stack([(shown * i).sum() for i in (ours, theirs)]))

    def verdict(self) -> str | None:
        if not self._pulls:
            return None
        ours, theirs = torch.stack(self._pulls).sum(dim=0).tolist()
        self._pulls.clear()
        if theirs <= 0 or ours <= self.gain * theirs:
            return None
        return f"the results' edges are {ours / theirs:.2f} times as high as HR's"


def _detail(image: Tensor, scale: int) -> Tensor:
    """What a box of `2·scale + 1` pixels blurs away, of the luma: `[B, C, H, W]` -> `[B, 1, H, W]`."""
    image = image.clamp(0, 1).float()
    light = rgb_to_luma(image) if image.shape[1] == 3 else image
    return light - F.avg_pool2d(light, 2 * scale + 1, stride=1, padding=scale, count_include_pad=False)
