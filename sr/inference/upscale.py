"""Apply a net to images under each `color`: the one function for validation, evaluation and prediction."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sr.image.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.image.resize import imresize
from sr.inference.ensemble import apply_self_ensemble
from sr.inference.tile import Part, Upscaler, compute_margin, iterate_tiles, join_parts, upscale_tiled
from sr.runtime.precision import use_full_precision

MAX_UNTILED_PIXELS = 1 << 20  # LR pixels of the largest image that is upscaled whole: DIV2K's at ×2 have 0.8 million
LARGE_IMAGE_TILE = 512  # LR pixels, for larger images


def choose_tile(size: tuple[int, int], tile: int | None) -> int | None:
    """Return the side of the tiles in which LR of `size` (h, w) is upscaled, in LR pixels; None: it is upscaled whole.

    `tile` is the option: null takes tiles of 512 for an image of over 2²⁰ LR pixels. A tile larger than the image is none.
    """
    if tile is None:
        return LARGE_IMAGE_TILE if size[0] * size[1] > MAX_UNTILED_PIXELS else None
    return tile if tile < max(size) else None


def upscale(net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None) -> Tensor:
    """Upscale `lr` `[B, C, h, w]` in 0…1: -> `[B, C, s·h, s·w]`, not clamped.

    With `color="y"` the net upscales BT.601 luma only, and chroma is upscaled bicubically; one channel is luma already.
    `ensemble` is `apply_self_ensemble`, `tile` that of `choose_tile`.
    """
    parts = iterate_parts(net, lr, color, ensemble, tile)
    return join_parts(parts, (net.scale * lr.shape[-2], net.scale * lr.shape[-1]))


def iterate_parts(
    net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None
) -> Iterator[Part]:
    """Yield the result of `upscale` in parts: one for each tile, or one in all without tiles or with `ensemble`.

    `lr` may be uint8 as well; in tiles only one of them is converted to float at a time.
    """
    weight = next(net.parameters(), None)

    def apply_net(x: Tensor) -> Tensor:
        # TF32 costs 0.002 dB of IMDN ×2 on Set5: 37.99 where the paper says 38.00.
        with use_full_precision(x.device.type):
            return net(_to_float(x, weight))

    tile = choose_tile(tuple(lr.shape[-2:]), tile)
    margin = compute_margin(net) if tile else 0
    if color != "y" or lr.shape[1] == 1:
        yield from _iterate_net(apply_net, lr, net.scale, ensemble, tile, margin)
        return
    with use_full_precision(lr.device.type):
        ycbcr = rgb_to_ycbcr(_to_float(lr, weight))
        chroma = imresize(ycbcr[:, 1:], size=(net.scale * lr.shape[-2], net.scale * lr.shape[-1]))
    for rows, columns, y in _iterate_net(apply_net, ycbcr[:, :1], net.scale, ensemble, tile, margin):
        with use_full_precision(lr.device.type):
            rgb = ycbcr_to_rgb(torch.cat([y, chroma[..., rows, columns]], dim=1))
        yield Part(rows, columns, rgb)


def _iterate_net(
    net: Upscaler, lr: Tensor, scale: int, ensemble: bool, tile: int | None, margin: int
) -> Iterator[Part]:
    if tile and not ensemble:
        yield from iterate_tiles(net, lr, scale, tile, margin)
        return
    single = (lambda x: upscale_tiled(net, x, scale, tile, margin)) if tile else net
    sr = apply_self_ensemble(single, lr) if ensemble else single(lr)
    yield Part(slice(0, sr.shape[-2]), slice(0, sr.shape[-1]), sr)


def _to_float(lr: Tensor, weight: Tensor | None) -> Tensor:
    """Return `lr` in the dtype of the net's weights, in 0…1."""
    lr = lr.float() / 255 if lr.dtype == torch.uint8 else lr
    return lr if weight is None else lr.to(weight.dtype)
