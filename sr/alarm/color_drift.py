"""`model/alarm=[color_drift]`: the results have other colours than their inputs.

Compared as people see it, by ΔE 2000 (`sr.metric.color_shift`), in blocks of 16×16 LR pixels, where detail, halos and
noise have gone: the block means of the input are those of its bicubic enlargement. A degradation may change colours
itself, so what is as near to HR as it is far from the input has not drifted.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.alarm.rule import Rule
from sr.metric.color_shift import delta_e, rgb_to_lab

BLOCK = 16  # LR pixels
FINE = 4  # LR pixels: of blocks that show whether a result follows its input
FALLS = 0.9  # times what it was at the validation before is on the way down
FOLLOWS = 0.5  # correlation with the input, below which there is no colour of anything to drift: that is `collapse`


class ColorDrift(Rule):
    """The mean ΔE 2000 of the blocks is above `delta_e`, both from the input and from HR, and is not on its way down: a net that
    learns colours anew, as those without a bicubic guess do, has not drifted.
    """

    advice = "give a loss on pixels more weight (model.loss.l1.weight), or lower model.weight"

    def __init__(self, delta_e: float = 2.0) -> None:
        self.delta_e = delta_e
        self._pictures: list[Tensor] = []  # [5, B]: ΔE from input and HR, and what makes the correlation
        self._before = math.inf  # ΔE at the last validation

    def observe_images(self, lr: Tensor, sr: Tensor, hr: Tensor) -> None:
        given, ours, right = (rgb_to_lab(image) for image in _blocks(BLOCK, lr, sr, hr))
        far = [delta_e(ours, other).mean(dim=(-2, -1)) for other in (given, right)]
        x, y = (i.mean(dim=1) for i in _blocks(FINE, lr, sr))
        x, y = (i - i.mean(dim=(-2, -1), keepdim=True) for i in (x, y))
        self._pictures.append(torch.stack([*far, *(i.mean(dim=(-2, -1)).double() for i in (x * y, x * x, y * y))]))

    def verdict(self) -> str | None:
        if not self._pictures:
            return None
        from_lr, from_hr, xy, xx, yy = torch.cat(self._pictures, dim=1).mean(dim=1).tolist()
        self._pictures.clear()
        drift, before = min(from_lr, from_hr), self._before
        self._before = drift
        if drift < FALLS * before < math.inf or drift <= self.delta_e or xy <= FOLLOWS * (xx * yy) ** 0.5:
            return None
        return f"the results' colours are ΔE {drift:.1f} off (just noticeable is 1)"

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before = state["before"]


def _blocks(side: int, lr: Tensor, *large: Tensor) -> list[Tensor]:
    """Mean colours of blocks of `side` LR pixels, or of the whole picture where it is smaller: `[B, 3, rows, columns]`."""
    scale, side = large[0].shape[-1] // lr.shape[-1], min(side, *lr.shape[-2:])
    pooled = [F.avg_pool2d(i.clamp(0, 1).float(), k * side) for i, k in ((lr, 1), *((i, scale) for i in large))]
    return [i.expand(-1, 3, -1, -1) for i in pooled]  # one channel is gray
