"""`metric/also=[ergas]`: relative dimensionless global error in synthesis, the error of each band relative to its mean.

Wald, "Quality of high resolution synthesised images: is there a simple criterion?", 2000:
ERGAS = 100 · (h / l) · sqrt(mean over bands of (RMSE / mean)²), with h / l the ratio of the pixel sizes of HR and LR,
1 / scale. 0 for equal images; below 3 is good, says the paper.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.spectral import find_offset, select_spectra


def ergas(sr: Tensor, hr: Tensor, scale: int, valid: Tensor | None = None) -> Tensor:
    """Return ERGAS of each image: two `[B, C, H, W]` of values -> float64 `[B]`; nan if the mean of a band is 0.

    `valid` `[B, 1, H, W]`: the pixels that count.
    """
    sr, hr = sr.double(), hr.double()
    weights = torch.ones_like(hr[:, :1]) if valid is None else valid.double()
    count = weights.sum(dim=(2, 3))
    mse = ((sr - hr).square() * weights).sum(dim=(2, 3)) / count  # [B, C]
    mean = (hr * weights).sum(dim=(2, 3)) / count
    relative = torch.where(mean == 0, torch.nan, mse / mean.square())
    return 100 / scale * relative.mean(dim=1).sqrt()


class ERGAS(Metric):
    """ERGAS of the values of all bands; `range` are those that stand for 0 and 1. Pixels without data are left out."""

    better: Literal["higher", "lower"] = "lower"
    takes_mask = True

    def __init__(self, scale: int, range: Sequence[float] | None = None) -> None:
        self.scale, self.offset = scale, find_offset(range)

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0 or more, or nan."""
        sr, hr = select_spectra(images)
        return ergas(sr + self.offset, hr + self.offset, self.scale, images.valid)
