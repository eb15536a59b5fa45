"""Structural similarity (Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004).

The reference settings: 11×11 Gaussian window with σ = 1.5, valid region only, K = (0.01, 0.03), L = 255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def _blur(image: Tensor) -> Tensor:
    """The Gaussian window's weighted mean, valid region: `[B, C, H, W]` -> `[B, C, H-10, W-10]`."""
    x = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    window = torch.exp(-(x**2) / (2 * SIGMA**2))
    window = window / window.sum()
    b, c, h, w = image.shape
    flat = F.conv2d(image.reshape(b * c, 1, h, w), window.view(1, 1, -1, 1))
    flat = F.conv2d(flat, window.view(1, 1, 1, -1))
    return flat.view(b, c, *flat.shape[-2:])


def ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """SSIM of each image, mean over channels: two `[B, C, H, W]` in 8-bit levels, H and W >= 11 -> `[B]`."""
    x, y = sr.double(), hr.double()
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    index = ((2 * mx * my + C1) * (2 * vxy + C2)) / ((mx * mx + my * my + C1) * (vx + vy + C2))  # eq. 13
    return index.mean(dim=(1, 2, 3))
