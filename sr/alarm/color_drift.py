"""`model/alarm=[color_drift]`: the results have other colors than their inputs.

Compared by ΔE 2000 (`sr.metric.color_shift`), a perceptual difference, in blocks of 16×16 LR pixels, which average out
detail, halos and noise: the block means of the input are those of its bicubic upscaling. A degradation may change colors
itself, so a result that is as near to HR as it is far from the input has not drifted.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule
from sr.metric.color_shift import delta_e, rgb_to_lab
from sr.runtime.option_types import NonNegativeFloat

BLOCK = 16  # LR pixels
CORRELATION_BLOCK = 4  # LR pixels; these blocks show whether a result depends on its input
FALLING = 0.9  # a ΔE below this share of the one at the validation before is falling
MIN_CORRELATION = 0.5  # with the input; below it the result shows nothing whose color could drift: that is `collapse`


class ColorDrift(Rule):
    """The mean ΔE 2000 of the blocks is above `delta_e`, both from the input and from HR, and is not falling: a net that
    learns colors from scratch, as those without a bicubic skip connection do, has not drifted.
    """

    advice = ("lower model.adversarial_weight", "train longer: trainer.max_steps")

    def __init__(self, delta_e: NonNegativeFloat = 2.0) -> None:
        self.delta_e = delta_e
        self._images: list[Tensor] = []  # [5, B]: ΔE from input and from HR, and the sums for the correlation
        self._last_drift = math.inf  # ΔE at the last validation

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        lr_lab, sr_lab, hr_lab = (rgb_to_lab(image) for image in _block_means(BLOCK, lr, sr, hr))
        drifts = [delta_e(sr_lab, other).mean(dim=(-2, -1)) for other in (lr_lab, hr_lab)]
        x, y = (i.mean(dim=1) for i in _block_means(CORRELATION_BLOCK, lr, sr))
        x, y = (i - i.mean(dim=(-2, -1), keepdim=True) for i in (x, y))
        self._images.append(torch.stack([*drifts, *(i.mean(dim=(-2, -1)).double() for i in (x * y, x * x, y * y))]))

    def verdict(self) -> str | None:
        if not self._images:
            return None
        from_lr, from_hr, xy, xx, yy = torch.cat(self._images, dim=1).mean(dim=1).tolist()
        self._images.clear()
        drift, before = min(from_lr, from_hr), self._last_drift
        self._last_drift = drift
        is_falling = drift < FALLING * before < math.inf
        if is_falling or drift <= self.delta_e or xy <= MIN_CORRELATION * (xx * yy) ** 0.5:
            return None
        return f"colors are ΔE {drift:.1f} off (1 is just noticeable)"

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._last_drift}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last_drift = state["before"]


def _block_means(side: int, lr: Tensor, *hr_sized: Tensor) -> list[Tensor]:
    """Return the mean colors `[B, 3, rows, columns]` of blocks of `side` LR pixels, or of a smaller image as a whole."""
    scale, side = hr_sized[0].shape[-1] // lr.shape[-1], min(side, *lr.shape[-2:])
    pooled = [F.avg_pool2d(i.clamp(0, 1).float(), k * side) for i, k in ((lr, 1), *((i, scale) for i in hr_sized))]
    return [i.expand(-1, 3, -1, -1) for i in pooled]  # one channel is gray
