"""How a net is applied to a picture under each `color`; training's measuring and predicting both go through here."""

import torch
from torch import Tensor, nn

from sr.color import rgb_to_ycbcr, ycbcr_to_rgb
from sr.degrade.resize import imresize


def enlarge(net: nn.Module, lr: Tensor, color: str) -> Tensor:
    """`lr` `[B, C, h, w]` in 0…1 -> `[B, C, s·h, s·w]`, not clamped.

    With `color="y"` the net sees BT.601 luma only, and chroma is enlarged bicubically; one channel is luma already.
    """
    weight = next(net.parameters(), None)
    if weight is not None:
        lr = lr.to(weight.dtype)
    if color != "y" or lr.shape[1] == 1:
        return net(lr)
    ycbcr = rgb_to_ycbcr(lr)
    y = net(ycbcr[:, :1])
    chroma = imresize(ycbcr[:, 1:], size=tuple(y.shape[-2:]))
    return ycbcr_to_rgb(torch.cat([y, chroma], dim=1))
