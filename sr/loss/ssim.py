"""`model/loss=[ssim]`: structural similarity as a loss (Wang et al., "Image quality assessment: from error visibility to
structural similarity", 2004, https://doi.org/10.1109/TIP.2003.819861; as a loss: Zhao et al., "Loss functions for image
restoration with neural networks", 2017, https://arxiv.org/abs/1511.08861, eq. 5).

It has the reference settings of `sr.metric.ssim`, for values in 0…1. The metric is exact and has no gradient; this is
differentiable. Each channel is compared separately.

Why float32 suffices: with d = x − y, eq. 13 is (1 − ⟨d⟩² / (⟨x⟩² + ⟨y⟩² + C1)) · (1 − var d / (var x + var y + C2)), where
the small result is not the difference of two large numbers: for equal images it is exactly 1.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision
from sr.runtime.error import UserError

WINDOW_SIZE, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


class SSIM(nn.Module):
    """1 − SSIM, mean over images and channels: 0 (equal) … 2. H and W must be 11 or more."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        check_size(hr)
        return 1 - compute_ssim_terms(*to_full_precision(sr, hr))[0].mean()


def check_size(hr: Tensor) -> None:
    """Raise a `UserError` if the window does not fit."""
    h, w = hr.shape[-2:]
    if min(h, w) < WINDOW_SIZE:
        raise UserError(
            f"model/loss: SSIM needs patches of at least {WINDOW_SIZE}×{WINDOW_SIZE} HR pixels, got {h}×{w}: increase data.patch"
        )


def compute_ssim_terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM, and contrast times structure (eq. 13 without luminance), as means: two `[B, C, H, W]` -> two `[B]`."""
    d = x - y
    mean_x, mean_y, mean_d, squares, square_d = _filter(torch.stack([x, y, d, x * x + y * y, d * d]))
    means = mean_x.square() + mean_y.square()
    contrast = 1 - (square_d - mean_d.square()) / (squares - means + C2)
    index = contrast * (1 - mean_d.square() / (means + C1))
    return index.mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _filter(maps: Tensor) -> Tensor:
    """Return the means under the Gaussian window, in the valid region: `[..., H, W]` -> `[..., H-10, W-10]`."""
    h, w = maps.shape[-2:]
    with torch.autocast(maps.device.type, enabled=False):
        return _make_band_matrix(h, maps.dtype, maps.device) @ (maps @ _make_band_matrix(w, maps.dtype, maps.device).T)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # cached in validation, used with a gradient in training
def _make_band_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the window along one axis as a matrix `[n-10, n]` whose rows sum to 1; faster than a convolution."""
    x = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    window = torch.exp(-x.square() / (2 * SIGMA**2))
    window = window / window.sum()
    band = torch.zeros(n - WINDOW_SIZE + 1, n, dtype=torch.float64)
    for k in range(len(band)):
        band[k, k : k + WINDOW_SIZE] = window
    return band.to(dtype=dtype, device=device)
