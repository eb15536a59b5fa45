"""Pooling and padding that depend on the size of an image, in operations that a graph for all sizes can hold.

`torch.export` and ONNX freeze the sizes of `F.adaptive_max_pool2d`, and of a branch on the size the one that is taken. A
net calls these functions instead, which call PyTorch's own unless it is being exported.
"""

import torch
from torch import Tensor
from torch.compiler import is_exporting
from torch.nn import functional as F


def pad_to_side(x: Tensor, side: int) -> Tensor:
    """Pad `[B, C, h, w]` by replication, at the right and the bottom, so that h and w are `side` or more."""
    h, w = x.shape[2:]
    if not is_exporting():
        right, bottom = max(side - w, 0), max(side - h, 0)
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if right or bottom else x
    for axis, n in ((2, h), (3, w)):
        index = torch.arange(torch.sym_max(n, side), device=x.device)
        x = x.index_select(axis, index.clamp(max=n - 1))
    return x


def pad_to_multiple(x: Tensor, side: int) -> Tensor:
    """Pad `[B, C, h, w]` by reflection, at the right and the bottom, so that h and w are multiples of `side`."""
    for axis in (2, 3):
        n = x.shape[axis]
        index = torch.arange((n + side - 1) // side * side, device=x.device)
        x = x.index_select(axis, torch.where(index < n, index, 2 * (n - 1) - index))
    return x


def crop_to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the first rows and columns of `[B, C, H, W]`."""
    if not is_exporting():
        return x[..., : size[0], : size[1]]
    for axis, n in ((2, size[0]), (3, size[1])):
        x = x.index_select(axis, torch.arange(n, device=x.device))  # a slice would ask whether it is the whole
    return x


def pool_to_fraction(x: Tensor, level: int) -> Tensor:
    """Return the maxima of `[B, C, h, w]` over cells of about 2^`level` pixels: `[B, C, h >> level, w >> level]`, at least 1.

    The cells are those of `F.adaptive_max_pool2d`: they are stretched if the size is no multiple of 2^`level`.
    """
    h, w = x.shape[2:]
    if not is_exporting():
        return F.adaptive_max_pool2d(x, (max(h >> level, 1), max(w >> level, 1)))
    for axis, n in ((2, h), (3, w)):
        count = torch.sym_max(n // 2**level, 1)
        longest = 2 ** (level + 1)  # pixels of a cell; fewer than two cells are one of n < 2·2^level pixels
        # One index for each pixel of each cell: PyTorch would freeze whether a tensor of `count` elements has one or more.
        position = torch.arange(count * longest, device=x.device)
        cell, pixel = position // longest, position % longest
        first, end = cell * n // count, ((cell + 1) * n + count - 1) // count
        kernel = (longest, 1) if axis == 2 else (1, longest)
        x = F.max_pool2d(x.index_select(axis, (first + pixel).minimum(end - 1)), kernel)
    return x


def stretch_to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Repeat the pixels of `[B, C, h, w]` so that it has `size`: `F.interpolate(mode="nearest")`."""
    if not is_exporting():
        return F.interpolate(x, size, mode="nearest")
    for axis, n in ((2, size[0]), (3, size[1])):
        x = x.index_select(axis, torch.arange(n, device=x.device) * x.shape[axis] // n)
    return x
