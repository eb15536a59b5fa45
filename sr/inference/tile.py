"""Upscale an image in overlapping tiles."""

from collections.abc import Callable

import torch
from torch import Tensor

Upscaler = Callable[[Tensor], Tensor]  # [B, C, h, w] -> [B, C, s·h, s·w]


FARTHEST = 64  # LR pixels of margin at most: what lies beyond has hardly a weight


USUAL = 32  # LR pixels of margin for a net that looks at the whole picture, or does not say how far


CELL = 8  # LR pixels: a tile with its margin begins at a multiple, where attention windows, cells and pooling begin


def compute_margin(net: Upscaler) -> int:
    """How many LR pixels a tile should see beyond itself on each side: as far as the net looks, if not too far."""
    receptive_field = getattr(net, "receptive_field", None)
    return USUAL if receptive_field is None else min(receptive_field // 2, FARTHEST)


def upscale_tiled(net: Upscaler, lr: Tensor, scale: int, tile: int, overlap: int | None = None) -> Tensor:
    """The picture in tiles of `tile`×`tile` LR pixels, each with a margin of `overlap` that is thrown away; None takes
    the net's `margin`.

    Equal to the whole where the net's receptive field ends within the margin; near it elsewhere, and where a net's grid
    depends on the size of the picture (RFDN's attention, SAFMN's pooling).
    """
    overlap = compute_margin(net) if overlap is None else overlap
    h, w = lr.shape[-2:]
    rows = []
    for top in range(0, h, tile):
        row = []
        for left in range(0, w, tile):
            bottom, right = min(top + tile, h), min(left + tile, w)
            y, x = (max(0, n - overlap) // CELL * CELL for n in (top, left))
            sr = net(lr[..., y : bottom + overlap, x : right + overlap])
            row.append(sr[..., scale * (top - y) : scale * (bottom - y), scale * (left - x) : scale * (right - x)])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)
