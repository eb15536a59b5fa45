"""`metric/also=[ms_ssim]`: multi-scale structural similarity (Wang, Simoncelli and Bovik, "Multiscale structural
similarity for image quality assessment", 2003, https://doi.org/10.1109/ACSSC.2003.1292216).

As in the paper: five scales, 2×2 means between them, luminance at the coarsest scale only, the weights that the paper's
observers gave. As in the well-known implementations, and unlike the paper: the mean over each scale is taken before the
power, a negative mean counts as 0 (its power would not be a number), and an odd last row or column is dropped when the
image is halved.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.metric.metric import Metric
from sr.metric.ssim import WINDOW_SIZE, compute_ssim_terms
from sr.runtime.error import UserError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # from the finest scale to the coarsest
MIN_SIDE = WINDOW_SIZE * 2 ** (len(WEIGHTS) - 1)  # 176 pixels: the window still fits after four halvings


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the MS-SSIM of each image, 0…1, mean over channels: two `[B, C, H, W]` in 8-bit levels -> `[B]`.

    H and W must be 176 or more. No gradient flows through it.
    """
    h, w = sr.shape[-2:]
    if min(h, w) < MIN_SIDE:
        raise UserError(f"MS-SSIM needs at least {MIN_SIDE}×{MIN_SIDE} pixels after the border is cut, got {h}×{w}")
    x, y = sr.double(), hr.double()
    result = x.new_ones(x.shape[0])
    for k, weight in enumerate(WEIGHTS):
        if k > 0:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        index, contrast = compute_ssim_terms(x, y)
        result *= (contrast if k < len(WEIGHTS) - 1 else index).clamp(min=0) ** weight  # eq. 7
    return result


class MSSSIM(Metric):
    """MS-SSIM of what the protocol measures: luma or RGB, border cut.

    An image below 176×176 has no value (nan), so that the others are still measured.
    """

    better: Literal["higher", "lower"] = "higher"

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]`, 0…1 or nan."""
        if min(images.x.shape[-2:]) < MIN_SIDE:
            return torch.full((len(images.x),), torch.nan, dtype=torch.float64, device=images.x.device)
        return ms_ssim(images.x, images.y)
