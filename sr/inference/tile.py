"""Upscale an image in overlapping tiles."""

from collections.abc import Callable

import torch
from torch import Tensor

Upscaler = Callable[[Tensor], Tensor]  # [B, C, h, w] -> [B, C, s·h, s·w]

# All in LR pixels.
MAX_MARGIN = 64  # pixels further away have hardly any weight
DEFAULT_MARGIN = 32  # for a net whose receptive field is the whole image, or not declared
ALIGNMENT = 8  # a tile with its margin starts at a multiple of it, as attention windows, cells and pooling do


def compute_margin(net: Upscaler) -> int:
    """Return the margin that a tile needs on each side, in LR pixels: half the receptive field, at most MAX_MARGIN."""
    receptive_field = getattr(net, "receptive_field", None)
    return DEFAULT_MARGIN if receptive_field is None else min(receptive_field // 2, MAX_MARGIN)


def upscale_tiled(net: Upscaler, lr: Tensor, scale: int, tile: int, overlap: int | None = None) -> Tensor:
    """Upscale `lr` `[B, C, h, w]` in tiles of `tile`×`tile` LR pixels.

    Each tile is upscaled with a margin of `overlap` LR pixels, which is cropped from the result; None takes
    `compute_margin(net)`. The result equals that of the whole image if the net's receptive field ends within the margin;
    otherwise it is close to it, and also where a net's grid depends on the size of the image (RFDN's attention, SAFMN's
    pooling).
    """
    overlap = compute_margin(net) if overlap is None else overlap
    h, w = lr.shape[-2:]
    rows = []
    for top in range(0, h, tile):
        row = []
        for left in range(0, w, tile):
            bottom, right = min(top + tile, h), min(left + tile, w)
            y, x = (max(0, n - overlap) // ALIGNMENT * ALIGNMENT for n in (top, left))
            sr = net(lr[..., y : bottom + overlap, x : right + overlap])
            row.append(sr[..., scale * (top - y) : scale * (bottom - y), scale * (left - x) : scale * (right - x)])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)
