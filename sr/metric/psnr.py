"""Peak signal-to-noise ratio."""

import torch
from torch import Tensor


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """PSNR in dB of each image, peak 255: two `[B, C, H, W]` in 8-bit levels -> `[B]`; infinite for equal images."""
    error = (sr.double() - hr.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error)
