"""Tiles: their size, the margin that each is upscaled with, and how their results are joined."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

Upscaler = Callable[[Tensor], Tensor]  # [B, C, h, w] -> [B, C, s·h, s·w]

# All in LR pixels.
MAX_UNTILED_PIXELS = 1 << 20  # of the largest image that is upscaled whole: DIV2K's at ×2 have 0.8 million
LARGE_IMAGE_TILE = 512  # for larger images
WIDE_TILE = 768  # likewise, of nets whose margin is wider than WIDE_MARGIN: less of the work is margin
WIDE_MARGIN = 64
MAX_MARGIN = (
    128  # measured with realesrgan_x4plus (reach 174): what is further away changes 0.0005 levels, as rounding does
)
DEFAULT_MARGIN = 32  # for a net whose receptive field is the whole image, or not declared
ALIGNMENT = 8  # a tile with its margin starts at a multiple of it, as attention windows, cells and pooling do


class Part(NamedTuple):
    """A rectangle of an upscaled image."""

    rows: slice  # where it lies in the upscaled image, in pixels
    columns: slice
    pixels: Tensor  # [B, C, rows, columns]


class Tiling(NamedTuple):
    """Division of an image into tiles; all in LR pixels."""

    height: int  # of a tile, and of a strip
    width: int
    margin: int  # that is upscaled with a tile, on each side
    blend: int = 0  # pixels to each side of a seam, within the margin, over which two tiles are blended; 0: cropped


def choose_margin(net: nn.Module, overlap: int | None = None) -> tuple[int, int]:
    """Return the margin of tiles and the width of blending, in LR pixels.

    A net with a finite receptive field needs half of it, at most `MAX_MARGIN`, and no blending; tiles then equal the whole
    image. `overlap` replaces the margin.
    """
    field = getattr(net, "receptive_field", None)
    if field is None or getattr(net, "depends_on_size", False):
        margin = DEFAULT_MARGIN if overlap is None else overlap
        return margin, margin // 2
    return (min(field // 2, MAX_MARGIN) if overlap is None else overlap), 0


def choose_tile(net: nn.Module, size: tuple[int, int], tile: int | None) -> int | None:
    """Return the side of the tiles in which LR of `size` (h, w) is upscaled, in LR pixels; None: it is upscaled whole.

    `tile` is the option: null takes tiles of 512 or 768 for an image of over 2²⁰ LR pixels. A tile larger than the image is
    none.
    """
    if tile is None:
        margin, blend = choose_margin(net)
        side = WIDE_TILE if margin > WIDE_MARGIN and not blend else LARGE_IMAGE_TILE
        return side if size[0] * size[1] > MAX_UNTILED_PIXELS else None
    return tile if tile < max(size) else None


def divide_image(net: nn.Module, size: tuple[int, int], tile: int | None, overlap: int | None = None) -> Tiling:
    """Return the tiling of an image of `size` (h, w) with tiles of `choose_tile`, however much memory there is."""
    side = choose_tile(net, size, tile) or max(size)
    margin, blend = choose_margin(net, overlap)
    return Tiling(min(side, size[0]), min(side, size[1]), margin, min(blend, side // 2))


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
