"""`metric/also=[ms_ssim]`: multi-scale structural similarity (Wang, Simoncelli and Bovik, "Multiscale structural
similarity for image quality assessment", 2003, https://doi.org/10.1109/ACSSC.2003.1292216).

As the paper: five scales, 2×2 means between them, luminance at the coarsest only, the weights that its observers gave.
As the well-known implementations, and unlike the paper: each scale's mean is taken before the power, a negative mean
counts as 0 (a power of it would be no number), and an odd last row or column is left out when halving.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.ssim import WINDOW, terms
from sr.runtime.error import UserError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # fine to coarse
SMALLEST = WINDOW * 2 ** (len(WEIGHTS) - 1)  # 176: the window still fits after four halvings


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """MS-SSIM of each image, 0…1, mean over channels: two `[B, C, H, W]` in 8-bit levels, H and W >= 176 -> `[B]`.

    It gives no gradient.
    """
    h, w = sr.shape[-2:]
    if min(h, w) < SMALLEST:
        raise UserError(f"MS-SSIM needs at least {SMALLEST}×{SMALLEST} pixels after the border is cut, got {h}×{w}")
    x, y = sr.double(), hr.double()
    result = x.new_ones(x.shape[0])
    for k, weight in enumerate(WEIGHTS):
        if k > 0:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        index, contrast = terms(x, y)
        result *= (contrast if k < len(WEIGHTS) - 1 else index).clamp(min=0) ** weight  # eq. 7
    return result


class MSSSIM:
    """MS-SSIM of what the protocol measures. A picture below 176×176 has none: nan, so that others are still measured."""

    unit = ""
    better: Literal["higher", "lower"] = "higher"

    def __call__(self, seen: MetricInput) -> Tensor:
        """`[B]`, 0…1, or nan."""
        if min(seen.x.shape[-2:]) < SMALLEST:
            return torch.full((len(seen.x),), torch.nan, dtype=torch.float64, device=seen.x.device)
        return ms_ssim(seen.x, seen.y)
