"""Upscale an image in overlapping tiles."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Upscaler = Callable[[Tensor], Tensor]  # [B, C, h, w] -> [B, C, s·h, s·w]

# All in LR pixels.
MAX_MARGIN = 64  # pixels further away have hardly any weight
DEFAULT_MARGIN = 32  # for a net whose receptive field is the whole image, or not declared
ALIGNMENT = 8  # a tile with its margin starts at a multiple of it, as attention windows, cells and pooling do


class Part(NamedTuple):
    """A rectangle of an upscaled image."""

    rows: slice  # where it lies in the upscaled image, in pixels
    columns: slice
    pixels: Tensor  # [B, C, rows, columns]


def compute_margin(net: Upscaler) -> int:
    """Return the margin that a tile needs on each side, in LR pixels: half the receptive field, at most MAX_MARGIN."""
    receptive_field = getattr(net, "receptive_field", None)
    return DEFAULT_MARGIN if receptive_field is None else min(receptive_field // 2, MAX_MARGIN)


def iterate_tiles(net: Upscaler, lr: Tensor, scale: int, tile: int, overlap: int | None = None) -> Iterator[Part]:
    """Upscale `lr` `[B, C, h, w]` in tiles of `tile`×`tile` LR pixels, and yield them one after another.

    Each tile is upscaled with a margin of `overlap` LR pixels, which is cropped from the result; None takes
    `compute_margin(net)`. The result equals that of the whole image if the net's receptive field ends within the margin;
    otherwise it is close to it, and also where a net's grid depends on the size of the image (RFDN's attention, SAFMN's
    pooling).
    """
    overlap = compute_margin(net) if overlap is None else overlap
    h, w = lr.shape[-2:]
    for top in range(0, h, tile):
        for left in range(0, w, tile):
            bottom, right = min(top + tile, h), min(left + tile, w)
            y, x = (max(0, n - overlap) // ALIGNMENT * ALIGNMENT for n in (top, left))
            sr = net(lr[..., y : bottom + overlap, x : right + overlap])
            rows, columns = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
            yield Part(rows, columns, _crop(sr, scale * (top - y), scale * (left - x), rows, columns))


def upscale_tiled(net: Upscaler, lr: Tensor, scale: int, tile: int, overlap: int | None = None) -> Tensor:
    """Return the image of `iterate_tiles`, `[B, C, s·h, s·w]`."""
    return join_parts(iterate_tiles(net, lr, scale, tile, overlap), (scale * lr.shape[-2], scale * lr.shape[-1]))


def join_parts(
    parts: Iterable[Part], size: tuple[int, int], memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Return the image of `size` (H, W) that consists of these parts. It is allocated once; a single part is returned."""
    image: Tensor | None = None
    for rows, columns, pixels in parts:
        if image is None:
            if pixels.shape[-2:] == size:
                return pixels
            shape = (*pixels.shape[:2], *size)
            image = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=memory_format)
        image[..., rows, columns] = pixels
    return image


def _crop(sr: Tensor, top: int, left: int, rows: slice, columns: slice) -> Tensor:
    return sr[..., top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
