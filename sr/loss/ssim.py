"""`model/loss=[ssim]`: structural similarity as a loss (Wang et al., "Image quality assessment: from error visibility to
structural similarity", 2004, https://doi.org/10.1109/TIP.2003.819861; as a loss: Zhao et al., "Loss functions for image
restoration with neural networks", 2017, https://arxiv.org/abs/1511.08861, eq. 5).

The reference settings of `sr.metric.ssim`, for values in 0…1. That one is measured with, exact and without a gradient;
this one is learned with. Each channel is compared for itself.

How float32 suffices: with d = x − y, eq. 13 is (1 − ⟨d⟩² / (⟨x⟩² + ⟨y⟩² + C1)) · (1 − var d / (var x + var y + C2)), where
no two large numbers are subtracted that differ by what is sought: for equal pictures it is 1 to the last digit.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from sr.loss.full_precision import full
from sr.runtime.error import UserError

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


class SSIM(nn.Module):
    """1 − SSIM, mean over images and channels: 0 (equal) … 2. H and W must be 11 or more."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        check_size(hr)
        return 1 - terms(*full(sr, hr))[0].mean()


def check_size(hr: Tensor) -> None:
    """Raise where the window does not fit."""
    h, w = hr.shape[-2:]
    if min(h, w) < WINDOW:
        raise UserError(
            f"model/loss: SSIM needs patches of at least {WINDOW}×{WINDOW} HR pixels, got {h}×{w}: data.patch"
        )


def terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its contrast and structure alone (eq. 13 without luminance): two `[B, C, H, W]` -> means, two `[B]`."""
    d = x - y
    mean_x, mean_y, mean_d, squares, square_d = _blurred(torch.stack([x, y, d, x * x + y * y, d * d]))
    means = mean_x.square() + mean_y.square()
    contrast = 1 - (square_d - mean_d.square()) / (squares - means + C2)
    index = contrast * (1 - mean_d.square() / (means + C1))
    return index.mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _blurred(maps: Tensor) -> Tensor:
    """The Gaussian window's mean at each place, valid region: `[..., H, W]` -> `[..., H-10, W-10]`."""
    h, w = maps.shape[-2:]
    with torch.autocast(maps.device.type, enabled=False):
        return _band(h, maps.dtype, maps.device) @ (maps @ _band(w, maps.dtype, maps.device).T)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what validation made first must serve a gradient later
def _band(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The window along one axis as a matrix `[n-10, n]`, rows summing to one: a product is faster than a convolution."""
    x = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-x.square() / (2 * SIGMA**2))
    window = window / window.sum()
    band = torch.zeros(n - WINDOW + 1, n, dtype=torch.float64)
    for k in range(len(band)):
        band[k, k : k + WINDOW] = window
    return band.to(dtype=dtype, device=device)
