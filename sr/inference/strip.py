"""Upscale an image in strips of tiles, from top to bottom, of which only the rows that a strip depends on are in memory.

Tiles equal the whole image if the net's receptive field ends within their margin. Otherwise (attention or pooling over
the whole image) neighboring tiles are blended linearly, so that no seam is visible.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sr.image.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.image.resize import imresize_rows
from sr.inference.ensemble import apply_self_ensemble
from sr.inference.layout import convert_input
from sr.inference.memory import is_out_of_memory, release_memory
from sr.inference.tile import ALIGNMENT, Part, Tiling
from sr.runtime import malloc
from sr.runtime.precision import use_full_precision

BICUBIC_REACH = 4  # LR pixels that bicubic upscaling of chroma and alpha depends on, to each side, and a spare one
MANY_TILES = (
    4  # in a strip: IMDN ×4 on 12 megapixels takes 2 % longer, and its peak memory does not grow with each strip
)
MIN_TILE = 16  # LR pixels; a tile of this size is not divided if memory is short


class Strip(NamedTuple):
    """Some rows of an image."""

    top: int
    bottom: int
    rows: range  # those that upscaling them depends on


class StripUpscaler:
    """Upscales images with one net. `limit` is the side of the largest tile that memory has sufficed for.

    If memory is short, tiles are divided, unless `is_divisible` is False.
    """

    def __init__(self, net: nn.Module, color: str, ensemble: bool, tiling: Tiling, is_divisible: bool = True) -> None:
        self.net, self.color, self.ensemble, self.tiling, self.is_divisible = net, color, ensemble, tiling, is_divisible
        self.limit: int | None = None
        self._weight = next(net.parameters(), None)
        self._below: Tensor | None = None  # rows of the last strip that wait for the next one

    def plan_strips(self, size: tuple[int, int]) -> list[Strip]:
        """Return the strips of an image of `size` (h, w)."""
        reach = max(self.tiling.margin, self.tiling.blend + BICUBIC_REACH)
        strips = []
        for top in range(0, size[0], self.tiling.height):
            bottom = min(top + self.tiling.height, size[0])
            strips.append(Strip(top, bottom, extend(range(top, bottom), reach, size[0])))
        return strips

    def iterate_parts(self, lr: Tensor, strip: Strip, size: tuple[int, int]) -> Iterator[Part]:
        """Yield the upscaled strip in parts, from left to right: one for each tile, or one in all if tiles are blended.

        `lr` `[B, C, h, w]`, in 0…1, are the rows `strip.rows` of an image of `size`. The parts have all rows of the strip,
        or, if tiles are blended, those that are complete: the others come with the next strip.
        """
        if self.color != "y" or lr.shape[1] == 1:
            yield from self._iterate_net(lr, strip, size)
            return
        s = self.net.scale
        with use_full_precision(lr.device.type):
            ycbcr = rgb_to_ycbcr(self._to_float(lr))
            chroma: Tensor | None = None
            for rows, columns, y in self._iterate_net(ycbcr[:, :1], strip, size):
                if chroma is None:
                    whole = (s * size[0], s * size[1])
                    wanted = range(rows.start, rows.stop)
                    chroma = imresize_rows(ycbcr[:, 1:], strip.rows.start, size[0], whole, wanted)
                yield Part(rows, columns, ycbcr_to_rgb(torch.cat([y, chroma[..., columns]], dim=1)))

    def _iterate_net(self, lr: Tensor, strip: Strip, size: tuple[int, int]) -> Iterator[Part]:
        s, (h, w) = self.net.scale, size
        if self.tiling.blend and (self.tiling.height < h or self.tiling.width < w):
            yield self._blend_tiles(lr, strip, size)
            return
        self._return_memory(strip, w)
        for left in range(0, w, self.tiling.width):
            columns = range(left, min(left + self.tiling.width, w))
            sr = self._upscale_window(lr, strip.rows.start, range(strip.top, strip.bottom), columns, size)
            yield Part(slice(s * strip.top, s * strip.bottom), slice(s * left, s * columns.stop), sr)

    def _return_memory(self, strip: Strip, width: int) -> None:
        """Return freed memory to the system before each strip of many tiles; after a single tile it would take longer."""
        if strip.top and width >= MANY_TILES * self.tiling.width:
            malloc.return_freed_memory()

    def _blend_tiles(self, lr: Tensor, strip: Strip, size: tuple[int, int]) -> Part:
        """Return all complete rows: tiles reach beyond the seams, where the weight of one falls as the other's rises."""
        s, (h, w), b = self.net.scale, size, self.tiling.blend
        rows = range(max(0, strip.top - b), min(h, strip.bottom + b))
        blended: Tensor | None = None
        self._return_memory(strip, w)
        for left in range(0, w, self.tiling.width):
            right = min(left + self.tiling.width, w)
            columns = range(max(0, left - b), min(w, right + b))
            sr = self._upscale_window(lr, strip.rows.start, rows, columns, size)
            if blended is None:
                blended = sr.new_zeros(*sr.shape[:3], s * w)
            weights = compute_weights(range(left, right), columns, w, b, s).to(sr)
            blended[..., s * columns.start : s * columns.stop] += sr * weights
        blended *= compute_weights(range(strip.top, strip.bottom), rows, h, b, s).to(blended)[:, None]
        if self._below is not None:
            blended[..., : self._below.shape[-2], :] += self._below
        end = h if strip.bottom == h else strip.bottom - b
        complete = s * (end - rows.start)
        self._below = None if strip.bottom == h else blended[..., complete:, :].clone()
        return Part(slice(s * rows.start, s * end), slice(0, s * w), blended[..., :complete, :])

    def _upscale_window(self, lr: Tensor, first: int, rows: range, columns: range, size: tuple[int, int]) -> Tensor:
        """Upscale a window of the image whose row `first` is the first one of `lr`; divide it if memory is short."""
        side = max(len(rows), len(columns))
        if self.limit is None or side <= self.limit:
            try:
                return self._upscale_tile(lr, first, rows, columns, size)
            except (RuntimeError, MemoryError) as error:
                if not (self.is_divisible and is_out_of_memory(error)) or side <= MIN_TILE:
                    raise
            release_memory()
            self.limit = side // 2
        if len(rows) >= len(columns):
            middle = (rows.start + rows.stop) // 2
            halves, axis = [(range(rows.start, middle), columns), (range(middle, rows.stop), columns)], -2
        else:
            middle = (columns.start + columns.stop) // 2
            halves, axis = [(rows, range(columns.start, middle)), (rows, range(middle, columns.stop))], -1
        return torch.cat([self._upscale_window(lr, first, *half, size) for half in halves], dim=axis)

    def _upscale_tile(self, lr: Tensor, first: int, rows: range, columns: range, size: tuple[int, int]) -> Tensor:
        s, margin = self.net.scale, self.tiling.margin - self.tiling.blend
        y, x = extend(rows, margin, size[0]), extend(columns, margin, size[1])
        tile = lr[..., y.start - first : y.stop - first, x.start : x.stop]
        with torch.inference_mode(), use_full_precision(lr.device.type):
            sr = apply_self_ensemble(self._apply_net, tile) if self.ensemble else self._apply_net(tile)
        top, left = s * (rows.start - y.start), s * (columns.start - x.start)
        return sr[..., top : top + s * len(rows), left : left + s * len(columns)]

    def _apply_net(self, tile: Tensor) -> Tensor:
        return self.net(convert_input(self._to_float(tile)))

    def _to_float(self, lr: Tensor) -> Tensor:
        lr = lr.float() / 255 if lr.dtype == torch.uint8 else lr
        return lr if self._weight is None else lr.to(self._weight.device, self._weight.dtype)


def extend(span: range, margin: int, length: int) -> range:
    """Return rows or columns with a margin, within an image of `length`.

    They start at a multiple of 8, as windows of attention and cells of pooling do; and end at one, counted from the end,
    as the same net sees the flipped image.
    """
    start = max(0, span.start - margin) // ALIGNMENT * ALIGNMENT
    below = max(0, length - span.stop - margin) // ALIGNMENT * ALIGNMENT
    return range(start, length - below)


def compute_weights(span: range, extended: range, length: int, blend: int, scale: int) -> Tensor:
    """Return the weights of a tile's rows or columns, `[scale·len(extended)]`; those of two neighbors sum to one.

    They rise over `blend` LR pixels to each side of the start of `span`, and fall around its end; not at the image's edges.
    """
    position = torch.arange(scale * extended.start, scale * extended.stop) + 0.5
    weights, width = torch.ones(len(position)), 2 * blend * scale
    if span.start > 0:
        weights = weights.minimum((position - scale * (span.start - blend)) / width)
    if span.stop < length:
        weights = weights.minimum((scale * (span.stop + blend) - position) / width)
    return weights.clamp(0, 1)
