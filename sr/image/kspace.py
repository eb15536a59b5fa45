"""Resize images in k-space, the Fourier transform in which MR is measured: cut off high frequencies, or add zeros for them."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Window = Literal["none", "hann", "hamming"]
_CONSTANTS: dict[str, float] = {"none": 1.0, "hann": 0.5, "hamming": 0.54}  # a of a + (1 - a)·cos(π·k / highest k)


def resize_kspace(image: Tensor, size: tuple[int, int], window: Window = "none") -> Tensor:
    """Crop or zero-fill k-space: real float `[…, H, W]` -> `[…, H', W']`, of the same mean, before the magnitude is taken.

    Both grids cover the same area, as all images of one place do: pixel `i` of `n` has its center at (i + 1/2)/n.
    """
    for axis, length in zip((-2, -1), size, strict=True):
        matrix = _build_matrix(image.shape[axis], length, window).to(image)
        image = torch.matmul(matrix, image) if axis == -2 else torch.matmul(image, matrix.T)
    return image


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # cached in validation, used with gradients later
def _build_matrix(n: int, length: int, window: Window) -> Tensor:
    """Return what the Fourier transform, the cut and the transform back do to one axis, `[length, n]`, float64.

    That is a real matrix, the sum over the frequencies k that both grids have of w(k)·cos(2π·k·(x' - x))/n, where x and x'
    are centers of pixels in 0…1.
    """
    shared = min(n, length)
    frequencies = torch.arange(shared // 2 + 1, dtype=torch.float64, device="cpu")  # never meta: it is cached
    weights = torch.full_like(frequencies, 2.0)  # k and -k
    weights[0] = 1.0
    if shared % 2 == 0 and n <= length:
        weights[-1] = 1.0  # the highest frequency of an even number of pixels is its own negative
    a = _CONSTANTS[window]
    weights *= a + (1 - a) * torch.cos(torch.pi * frequencies / max(1, shared // 2))
    old, new = (
        2 * torch.pi * (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5)[:, None] / count * frequencies
        for count in (n, length)
    )  # [pixels, k]
    return ((new.cos() * weights) @ old.cos().T + (new.sin() * weights) @ old.sin().T) / n
