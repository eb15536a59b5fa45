"""`model/alarm=[over_sharpening]`: edges of the results have more contrast than HR's: halos, and detail that overshoots.

A net that is unsure lowers the contrast of edges and never raises it; one that was trained on blurrier images than its
inputs, or whose loss rewards contrast, overshoots.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule
from sr.image.color import rgb_to_luma
from sr.image.resize import upscale_bicubic
from sr.runtime.option_types import PositiveFloat


class OverSharpening(Rule):
    """The results have more than `gain` times as much detail as HR where the input has detail: at 1.2 the power of that
    detail is 1.6 dB above HR's, all of it overshoot. Detail or noise elsewhere is not counted.
    """

    advice = ("lower model.adversarial_weight", "compare data/degrade with data.val")

    def __init__(self, gain: PositiveFloat = 1.2) -> None:
        self.gain = gain
        self._correlations: list[Tensor] = []  # [2]: detail of results and of HR, correlated with that of the input

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        scale = hr.shape[-1] // lr.shape[-1]
        lr_detail, sr_detail, hr_detail = (_detail(i, scale) for i in (upscale_bicubic(lr.float(), scale), sr, hr))
        self._correlations.append(torch.stack([(lr_detail * detail).sum() for detail in (sr_detail, hr_detail)]))

    def verdict(self) -> str | None:
        if not self._correlations:
            return None
        sr_detail, hr_detail = torch.stack(self._correlations).sum(dim=0).tolist()
        self._correlations.clear()
        if hr_detail <= 0 or sr_detail <= self.gain * hr_detail:
            return None
        return f"edges have {sr_detail / hr_detail:.2f} times HR's contrast"


def _detail(image: Tensor, scale: int) -> Tensor:
    """Return the luma less its mean in a box of `2·scale + 1` pixels: `[B, C, H, W]` -> `[B, 1, H, W]`."""
    image = image.clamp(0, 1).float()
    luma = rgb_to_luma(image) if image.shape[1] == 3 else image
    return luma - F.avg_pool2d(luma, 2 * scale + 1, stride=1, padding=scale, count_include_pad=False)
