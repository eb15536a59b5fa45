"""Structural similarity (Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004,
https://doi.org/10.1109/TIP.2003.819861).

The reference settings: 11×11 Gaussian window with σ = 1.5, valid region only, K = (0.01, 0.03), L = 255.

Why it is fast: with s = x + y and d = x − y, the window means of s, d, s² and d² hold the same information as the five
means of x, y, x², y² and xy. A mean along one axis is a product with a small band matrix, and the image is processed in
strips that stay in the processor's cache. Everything is float64: in float32 the variances would lose half their digits.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.runtime.error import UserError
from sr.runtime.parallel import map_parallel

WINDOW_SIZE, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_MARGIN = WINDOW_SIZE - 1
_ROWS, _COLUMNS = 32, 16  # of a block of results: 32 rows of it need 42 image rows, 16 columns need 26
_STRIP_PIXELS = 1 << 16  # processed at a time: four maps of them are 2 MB


def ssim(sr: Tensor, hr: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the SSIM of each image, mean over channels: two `[B, C, H, W]` in 8-bit levels -> float64 `[B]`.

    H and W must be 11 or more. No gradient flows through it. `valid` `[B, 1, H, W]`: the mean is over the windows of which
    all pixels are valid; an image without such a window has nan.
    """
    return compute_ssim_terms(sr, hr)[0] if valid is None else _compute_masked_ssim(sr, hr, valid)


@torch.no_grad()
def compute_ssim_terms(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM, and contrast times structure (eq. 13 without luminance), each the mean over an image: float64 `[B]`."""
    b, c, h, w = sr.shape
    if min(h, w) < WINDOW_SIZE:
        raise UserError(f"SSIM needs at least {WINDOW_SIZE}×{WINDOW_SIZE} pixels after the border is cut, got {h}×{w}")
    x, y = (image.double().reshape(b * c, h, w) for image in (sr, hr))
    total = x.new_zeros(2, b * c)
    images = max(1, _STRIP_PIXELS // (_ROWS * w))
    strips = [
        (slice(k, k + images), slice(top, top + _ROWS + _MARGIN))
        for k in range(0, b * c, images)
        for top in range(0, h - _MARGIN, _ROWS)
    ]
    for (planes, _), sums in zip(strips, map_parallel(partial(_sum_strips, x, y), strips, x.device), strict=True):
        total[:, planes] += sums
    index, contrast = total.view(2, b, c).mean(dim=2) / ((h - _MARGIN) * (w - _MARGIN))
    return index, contrast


@torch.no_grad()
def _compute_masked_ssim(sr: Tensor, hr: Tensor, valid: Tensor) -> Tensor:
    """Return the SSIM of the windows without an invalid pixel, eq. 13 as it is written: float64 `[B]`."""
    x, y = (torch.where(valid, image.double(), 0) for image in (sr, hr))
    means = [_average_windows(image) for image in (x, y, x * x, y * y, x * y)]
    mean_x, mean_y = means[:2]
    var_x, var_y, cov = means[2] - mean_x**2, means[3] - mean_y**2, means[4] - mean_x * mean_y
    index = (2 * mean_x * mean_y + C1) * (2 * cov + C2) / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))
    whole = -F.max_pool2d(-valid.double(), WINDOW_SIZE, 1)  # 1: all pixels of the window are valid
    return (index.mean(dim=1, keepdim=True) * whole).sum(dim=(1, 2, 3)) / whole.sum(dim=(1, 2, 3))


def _average_windows(image: Tensor) -> Tensor:
    """Return the Gaussian window means of `[B, C, H, W]`, valid region: `[B, C, H - 10, W - 10]`."""
    planes = image.flatten(0, 1)[:, None]
    window = _build_band_matrix(1, image.device)[0]
    blurred = F.conv2d(F.conv2d(planes, window[None, None, :, None]), window[None, None, None])
    return blurred.view(*image.shape[:2], *blurred.shape[-2:])


def _sum_strips(x: Tensor, y: Tensor, strips: Sequence[tuple[slice, slice]]) -> list[Tensor]:
    """Return the sums of each strip, `[2, N]`, using buffers that are allocated only once."""
    buffers: _Buffers | None = None
    sums = []
    for strip in strips:
        a, b = x[strip], y[strip]
        buffers = buffers if buffers and buffers.shape == a.shape else _Buffers(a)
        sums.append(_sum_strip(a, b, buffers))
    return sums


class _Buffers:
    """Memory for a strip `[N, h, W]`: its four maps padded with zeros on the right, blurred vertically, blurred twice."""

    def __init__(self, x: Tensor) -> None:
        n, h, w = self.shape = x.shape
        self.blocks = -(-(w - _MARGIN) // _COLUMNS)
        self.maps = x.new_zeros(4, n, h, self.blocks * _COLUMNS + _MARGIN)
        self.vertical = x.new_empty(4, n, h - _MARGIN, self.maps.shape[-1])
        self.blurred = x.new_empty(self.blocks, 4 * n * (h - _MARGIN), _COLUMNS)
        self.result = x.new_empty(2, self.blocks, n, h - _MARGIN, _COLUMNS)


def _sum_strip(x: Tensor, y: Tensor, buffers: _Buffers) -> Tensor:
    """Return the sums of SSIM and of contrast times structure over a strip: two `[N, h, W]`, h <= 42 -> `[2, N]`."""
    n, h, w = x.shape
    # Window means of s, d, s² and d²: down the rows, then across the columns.
    inside = buffers.maps[..., :w]  # s, d, s², d²
    torch.add(x, y, out=inside[0])
    torch.sub(x, y, out=inside[1])
    torch.mul(inside[:2], inside[:2], out=inside[2:])
    torch.matmul(_build_band_matrix(h - _MARGIN, x.device), buffers.maps, out=buffers.vertical)
    lines = buffers.vertical.view(-1, buffers.vertical.shape[-1])
    blocks = lines.unfold(1, _COLUMNS + _MARGIN, _COLUMNS)  # [4·N·(h-10), blocks, 26]
    horizontal = _build_band_matrix(_COLUMNS, x.device).T.expand(buffers.blocks, -1, -1)
    torch.bmm(blocks.transpose(0, 1), horizontal, out=buffers.blurred)
    s, d, ss, dd = buffers.blurred.view(buffers.blocks, 4, n, h - _MARGIN, _COLUMNS).unbind(1)

    # Eq. 13, doubled. With ⟨·⟩ the window mean, ⟨s⟩² ∓ ⟨d⟩² are 4⟨x⟩⟨y⟩ and 2(⟨x⟩² + ⟨y⟩²); ⟨s²⟩ ∓ ⟨d²⟩ likewise.
    s.square_().add_(2 * C1)
    d.square_()
    ss.add_(2 * C1 + 2 * C2)
    index, contrast = buffers.result
    torch.sub(s, d, out=index)
    torch.sub(ss, dd, out=contrast).sub_(index)
    squares = s.add_(d)
    contrast.div_(ss.add_(dd).sub_(squares))
    index.div_(squares).mul_(contrast)

    # Sums, without the columns of padding.
    sums = buffers.result.sum(dim=3)  # [2, blocks, N, columns]
    return sums.transpose(1, 2).flatten(2)[..., : w - _MARGIN].sum(dim=2)


@lru_cache(maxsize=128)
def _build_band_matrix(n: int, device: torch.device) -> Tensor:
    """Return the matrix that takes the Gaussian window mean along one axis, valid region: `[n, n+10]`, rows sum to one."""
    x = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    window = torch.exp(-(x**2) / (2 * SIGMA**2))
    window = window / window.sum()
    band = torch.zeros(n, n + _MARGIN, dtype=torch.float64)
    for k in range(n):
        band[k, k : k + WINDOW_SIZE] = window
    return band.to(device)
