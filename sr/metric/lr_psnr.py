"""`metric/also=[lr_psnr]`: does the result, degraded again, give back the LR image that it was made from?

A result may be any of the many images that are consistent with its LR; one that is not has added or lost something. The
NTIRE challenge on the space of super-resolution requires 45 dB or more (Lugmayr et al., "NTIRE 2021 Learning the
Super-Resolution Space Challenge", 2021).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.psnr import psnr
from sr.runtime.error import UserError

Degrade = Callable[[Tensor], Tensor]  # uint8 HR -> uint8 LR; float64 levels 0…255 -> float64, not rounded


def lr_psnr(sr: Tensor, lr: Tensor, degrade: Degrade) -> Tensor:
    """Return the PSNR in dB of `degrade(sr)` against `lr`, over all pixels and channels, border included: float64 `[B]`."""
    return psnr(*degrade_result(sr, lr, degrade))


def compute_lr_error(sr: Tensor, lr: Tensor, degrade: Degrade) -> Tensor:
    """Return the map of `lr_psnr`: the root of the mean square over channels, in levels 0…255, `[B, 1, h, w]`."""
    degraded, expected = degrade_result(sr, lr, degrade)
    return (degraded.double() - expected.double()).square().mean(dim=1, keepdim=True).sqrt()


def degrade_result(sr: Tensor, lr: Tensor, degrade: Degrade) -> tuple[Tensor, Tensor]:
    """Return `degrade(sr)` and the `lr` that it should be, in levels 0…255: `[B, C, h, w]` both.

    `sr` `[B, C, H, W]` and `lr` `[B, C, h, w]` in 0…1, `sr` of 8-bit or 16-bit levels. A float64 `lr` was not rounded to 8
    bits; then the degraded result is not rounded either, and both are compared as `degrade` returns them for float64.
    """
    if lr.dtype == torch.float64:
        levels = (sr.double() * 65535).round() / 257  # 8-bit levels are 16-bit levels, too
        degraded, expected = degrade(levels), lr * 255
    else:
        degraded, expected = degrade((sr * 255).round().to(torch.uint8)), (lr * 255).round()
    if degraded.shape != expected.shape:
        raise UserError(
            f"metric/also=[lr_psnr]: the degraded result is {tuple(degraded.shape)}, the LR {tuple(expected.shape)}: "
            f"data/degrade must be the degradation that made the LR"
        )
    return degraded, expected


class LRPSNR(Metric):
    """LR-PSNR with the degradation of the data (`data/degrade`), which must not be random."""

    unit = "dB"
    better: Literal["higher", "lower"] = "higher"

    def __init__(self, degrade: Degrade) -> None:
        if not getattr(degrade, "fixed", True):
            raise UserError(
                "metric/also=[lr_psnr]: data/degrade is random and would make another LR than the one that the result "
                "came from: leave lr_psnr out, or evaluate with data/degrade=bicubic"
            )
        self.degrade = degrade

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]` in dB; infinite where the degraded result equals the LR."""
        if images.lr is None:
            raise UserError("metric/also=[lr_psnr]: the LR images are needed, and were not given to the protocol")
        return lr_psnr(images.sr, images.lr, self.degrade)
