"""How a net is applied to a picture under each `color`; training's measuring, evaluating and predicting go through here."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sr import precision
from sr.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.degrade.resize import imresize
from sr.error import UserError

WHOLE = 1 << 20  # LR pixels of the largest picture that is enlarged in one piece: DIV2K's at ×2 are 0.8 million
LARGE_TILE = 512  # LR pixels, for those beyond
MEASURE_LESS = "measure less of it: metric/also=[]"  # LPIPS and DISTS look at whole pictures with VGG
Enlarger = Callable[[Tensor], Tensor]  # [B, C, h, w] -> [B, C, s·h, s·w]


def enlarge(net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None) -> Tensor:
    """`lr` `[B, C, h, w]` in 0…1 -> `[B, C, s·h, s·w]`, not clamped.

    With `color="y"` the net sees BT.601 luma only, and chroma is enlarged bicubically; one channel is luma already.
    `ensemble` and `tile` are of `ensembled` and `tiled`; without `tile`, a picture of over 2²⁰ LR pixels is enlarged in
    tiles of 512.
    """
    if tile is None and lr.shape[-2] * lr.shape[-1] > WHOLE:
        tile = LARGE_TILE
    weight = next(net.parameters(), None)
    if weight is not None:
        lr = lr.to(weight.dtype)
    whole = (lambda x: tiled(net, x, net.scale, tile)) if tile else net
    apply = (lambda x: ensembled(whole, x)) if ensemble else whole
    with precision.full(lr.device.type):  # TF32 costs 0.002 dB of IMDN ×2 on Set5: 37.99 where the paper says 38.00
        if color != "y" or lr.shape[1] == 1:
            return apply(lr)
        ycbcr = rgb_to_ycbcr(lr)
        y = apply(ycbcr[:, :1])
        chroma = imresize(ycbcr[:, 1:], size=tuple(y.shape[-2:]))
        return ycbcr_to_rgb(torch.cat([y, chroma], dim=1))


def out_of_memory(error: RuntimeError) -> bool:
    """Whether it is that: a device's `torch.OutOfMemoryError`, or the CPU allocator's message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def telling_memory(what: str, advice: str = "say tile=256, or less") -> Iterator[None]:
    """Around the enlarging of `what`: out of memory becomes a `UserError` that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"{what} does not fit in memory; {advice}") from None


def ensembled(net: Enlarger, lr: Tensor) -> Tensor:
    """The mean over the eight flips and turns of the input (Timofte et al., "Seven ways to improve example-based single
    image super resolution", 2016, section 3.5; EDSR's self-ensemble): names ending in + in the tables."""
    total = None
    for turn in range(8):
        axes = [axis for bit, axis in ((1, -1), (2, -2)) if turn & bit]
        seen = lr.flip(axes) if axes else lr
        sr = net(seen.transpose(-1, -2) if turn & 4 else seen)
        sr = sr.transpose(-1, -2) if turn & 4 else sr
        sr = sr.flip(axes) if axes else sr
        total = sr if total is None else total + sr
    return total / 8


FARTHEST = 64  # LR pixels of margin at most: what lies beyond has hardly a weight
USUAL = 32  # LR pixels of margin for a net that looks at the whole picture, or does not say how far
CELL = 8  # LR pixels: a tile with its margin begins at a multiple, where attention windows, cells and pooling begin


def margin(net: Enlarger) -> int:
    """How many LR pixels a tile should see beyond itself on each side: as far as the net looks, if not too far."""
    receptive_field = getattr(net, "receptive_field", None)
    return USUAL if receptive_field is None else min(receptive_field // 2, FARTHEST)


def tiled(net: Enlarger, lr: Tensor, scale: int, tile: int, overlap: int | None = None) -> Tensor:
    """The picture in tiles of `tile`×`tile` LR pixels, each with a margin of `overlap` that is thrown away; None takes
    the net's `margin`.

    Equal to the whole where the net's receptive field ends within the margin; near it elsewhere, and where a net's grid
    depends on the size of the picture (RFDN's attention, SAFMN's pooling).
    """
    overlap = margin(net) if overlap is None else overlap
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
