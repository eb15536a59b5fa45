"""How a net is applied to a picture under each `color`; training's measuring, evaluating and predicting go through here."""

import torch
from torch import Tensor, nn

from sr.image.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.image.resize import imresize
from sr.inference.ensemble import apply_self_ensemble
from sr.inference.tile import upscale_tiled
from sr.runtime.precision import use_full_precision

WHOLE = 1 << 20  # LR pixels of the largest picture that is enlarged in one piece: DIV2K's at ×2 are 0.8 million
LARGE_TILE = 512  # LR pixels, for those beyond


def upscale(net: nn.Module, lr: Tensor, color: str, ensemble: bool = False, tile: int | None = None) -> Tensor:
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
    whole = (lambda x: upscale_tiled(net, x, net.scale, tile)) if tile else net
    apply = (lambda x: apply_self_ensemble(whole, x)) if ensemble else whole
    with use_full_precision(lr.device.type):  # TF32 costs 0.002 dB of IMDN ×2 on Set5: 37.99 where the paper says 38.00
        if color != "y" or lr.shape[1] == 1:
            return apply(lr)
        ycbcr = rgb_to_ycbcr(lr)
        y = apply(ycbcr[:, :1])
        chroma = imresize(ycbcr[:, 1:], size=tuple(y.shape[-2:]))
        return ycbcr_to_rgb(torch.cat([y, chroma], dim=1))
