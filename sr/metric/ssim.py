"""Structural similarity (Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004,
https://doi.org/10.1109/TIP.2003.819861).

The reference settings: 11×11 Gaussian window with σ = 1.5, valid region only, K = (0.01, 0.03), L = 255.

How it is made fast: with s = x + y and d = x − y, the window's means of s, d, s² and d² hold all that the five of x, y,
x², y² and xy do. A mean along one axis is a product with a small band matrix, and the picture is worked through in
strips that stay in the processor's cache. All of it in float64: in float32 the variances would lose half their digits.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from sr.runtime.error import UserError
from sr.runtime.parallel import map_parallel

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_EDGE = WINDOW - 1
_ROWS, _COLUMNS = 32, 16  # of a block of results: 32 rows of them need 42 of the picture, 16 columns need 26
_STRIP = 1 << 16  # pixels worked on at a time: four maps of them are 2 MB


def ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """SSIM of each image, mean over channels: two `[B, C, H, W]` in 8-bit levels, H and W >= 11 -> float64 `[B]`.

    It gives no gradient.
    """
    return terms(sr, hr)[0]


@torch.no_grad()
def terms(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its contrast and structure alone (eq. 13 without luminance), each the mean of an image: float64 `[B]`."""
    b, c, h, w = sr.shape
    if min(h, w) < WINDOW:
        raise UserError(f"SSIM needs at least {WINDOW}×{WINDOW} pixels after the border is cut, got {h}×{w}")
    x, y = (image.double().reshape(b * c, h, w) for image in (sr, hr))
    total = x.new_zeros(2, b * c)
    images = max(1, _STRIP // (_ROWS * w))
    strips = [
        (slice(k, k + images), slice(top, top + _ROWS + _EDGE))
        for k in range(0, b * c, images)
        for top in range(0, h - _EDGE, _ROWS)
    ]
    for (some, _), sums in zip(strips, map_parallel(partial(_strips, x, y), strips, x.device), strict=True):
        total[:, some] += sums
    index, contrast = total.view(2, b, c).mean(dim=2) / ((h - _EDGE) * (w - _EDGE))
    return index, contrast


def _strips(x: Tensor, y: Tensor, strips: Sequence[tuple[slice, slice]]) -> list[Tensor]:
    """Each strip's sums, in memory that is asked for only once."""
    room: _Room | None = None
    found = []
    for strip in strips:
        a, b = x[strip], y[strip]
        room = room if room and room.shape == a.shape else _Room(a)
        found.append(_strip(a, b, room))
    return found


class _Room:
    """Where a strip `[N, h, W]` is worked on: its four maps with zeros on the right, blurred once, and blurred twice."""

    def __init__(self, x: Tensor) -> None:
        n, h, w = self.shape = x.shape
        self.blocks = -(-(w - _EDGE) // _COLUMNS)
        self.maps = x.new_zeros(4, n, h, self.blocks * _COLUMNS + _EDGE)
        self.down = x.new_empty(4, n, h - _EDGE, self.maps.shape[-1])
        self.both = x.new_empty(self.blocks, 4 * n * (h - _EDGE), _COLUMNS)
        self.result = x.new_empty(2, self.blocks, n, h - _EDGE, _COLUMNS)


def _strip(x: Tensor, y: Tensor, room: _Room) -> Tensor:
    """Sums over the strip of SSIM and of its contrast and structure: two `[N, h, W]`, at most 42 rows -> `[2, N]`."""
    n, h, w = x.shape
    inside = room.maps[..., :w]  # s, d, s², d²
    torch.add(x, y, out=inside[0])
    torch.sub(x, y, out=inside[1])
    torch.mul(inside[:2], inside[:2], out=inside[2:])
    torch.matmul(_band(h - _EDGE, x.device), room.maps, out=room.down)
    lines = room.down.view(-1, room.down.shape[-1]).unfold(1, _COLUMNS + _EDGE, _COLUMNS)  # [4·N·(h-10), blocks, 26]
    across = _band(_COLUMNS, x.device).T.expand(room.blocks, -1, -1)
    torch.bmm(lines.transpose(0, 1), across, out=room.both)
    s, d, ss, dd = room.both.view(room.blocks, 4, n, h - _EDGE, _COLUMNS).unbind(1)
    # With ⟨·⟩ the window's mean: ⟨s⟩² ∓ ⟨d⟩² are 4⟨x⟩⟨y⟩ and 2(⟨x⟩² + ⟨y⟩²), ⟨s²⟩ ∓ ⟨d²⟩ likewise; eq. 13, doubled.
    s.square_().add_(2 * C1)
    d.square_()
    ss.add_(2 * C1 + 2 * C2)
    index, contrast = room.result
    torch.sub(s, d, out=index)
    torch.sub(ss, dd, out=contrast).sub_(index)
    squares = s.add_(d)
    contrast.div_(ss.add_(dd).sub_(squares))
    index.div_(squares).mul_(contrast)
    sums = room.result.sum(dim=3)  # [2, blocks, N, columns]
    return sums.transpose(1, 2).flatten(2)[..., : w - _EDGE].sum(dim=2)


@lru_cache(maxsize=128)
def _band(n: int, device: torch.device) -> Tensor:
    """The Gaussian window's mean along one axis, valid region: `[n, n+10]`, rows summing to one."""
    x = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(x**2) / (2 * SIGMA**2))
    window = window / window.sum()
    band = torch.zeros(n, n + _EDGE, dtype=torch.float64)
    for k in range(n):
        band[k, k : k + WINDOW] = window
    return band.to(device)
