"""VDSR (Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", 2016,
https://arxiv.org/abs/1511.04587): twenty 3×3 convolutions find what a bicubic guess lacks.

One set of weights serves all scales. The authors' weights (MatConvNet) are for luma in 16/255…235/255.
"""

import re
from itertools import pairwise

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import over_bicubic


class VDSR(nn.Module):
    """665,921 parameters for luma, 664,704 of them weights."""

    def __init__(self, scale: int, channels: int = 1, width: int = 64, depth: int = 20) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = over_bicubic(scale, depth)
        widths = [channels, *[width] * (depth - 1), channels]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He's, as in the paper
            nn.init.zeros_(layer.bias)

    def forward(self, lr: Tensor) -> Tensor:
        guess = x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return guess + self.layers[-1](x)

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' file (w00…w19, b00…b19) in this net's names; any other state dict is returned as it came."""
        if not all(re.fullmatch(r"[wb]\d+", name) for name in state):
            return state
        kind = {"w": "weight", "b": "bias"}
        return {f"layers.{int(name[1:])}.{kind[name[0]]}": value for name, value in state.items()}
