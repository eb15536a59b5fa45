"""`metric/also=[lr_psnr]`: does the result, degraded again, give back the LR that it was made from?

A result may be any of the many pictures that fit its LR; one that does not fit has invented or lost something. The
NTIRE challenge on the space of super-resolution judges by it, from 45 dB up (Lugmayr et al., "NTIRE 2021 Learning the
Super-Resolution Space Challenge", 2021).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.psnr import psnr
from sr.runtime.error import UserError

Degrade = Callable[[Tensor], Tensor]  # uint8 HR -> uint8 LR; float64 levels 0…255 -> float64, unrounded


def lr_psnr(sr: Tensor, lr: Tensor, degrade: Degrade) -> Tensor:
    """PSNR in dB over all pixels and channels of `degrade(sr)` against `lr`, no border cut: -> float64 `[B]`.

    `sr` `[B, C, H, W]` and `lr` `[B, C, h, w]` in 0…1, `sr` of 8-bit levels. A float64 `lr` was not rounded, and then
    neither is the degraded result: they are compared as `degrade` gives them for float64.
    """
    levels = (sr * 255).round()
    if lr.dtype == torch.float64:
        again, given = degrade(levels.double()), lr * 255
    else:
        again, given = degrade(levels.to(torch.uint8)), (lr * 255).round()
    if again.shape != given.shape:
        raise UserError(
            f"metric/also=[lr_psnr]: the degraded result is {tuple(again.shape)}, the LR {tuple(given.shape)}: "
            f"data/degrade has to be the one that the LR was made with"
        )
    return psnr(again, given)


class LRPSNR:
    """LR-PSNR by the very degradation of the data (`data/degrade`), which must not draw at random."""

    unit = "dB"
    better: Literal["higher", "lower"] = "higher"

    def __init__(self, degrade: Degrade) -> None:
        if not getattr(degrade, "fixed", True):
            raise UserError(
                "metric/also=[lr_psnr]: data/degrade draws at random, and would make another LR of the result than the "
                "one it came from: leave lr_psnr out, or measure with data/degrade=bicubic"
            )
        self.degrade = degrade

    def __call__(self, seen: MetricInput) -> Tensor:
        """`[B]` in dB; infinite where the LR comes back exactly."""
        if seen.lr is None:
            raise UserError("metric/also=[lr_psnr]: the LR pictures are needed, and were not given to the protocol")
        return lr_psnr(seen.sr, seen.lr, self.degrade)
