"""VDSR (Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", 2016,
https://arxiv.org/abs/1511.04587): twenty 3×3 convolutions compute the residual to bicubic upscaling.

One set of weights serves all scales. The authors' weights (MatConvNet) are for luma in 16/255…235/255.
"""

import re
from itertools import pairwise

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import compute_receptive_field_over_bicubic
from sr.runtime.option_types import PositiveInt


class VDSR(nn.Module):
    """665,921 parameters for luma, 664,704 of them weights."""

    def __init__(self, scale: int, channels: int = 1, width: PositiveInt = 64, depth: PositiveInt = 20) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field_over_bicubic(scale, depth)
        widths = [channels, *[width] * (depth - 1), channels]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He initialization, as in the paper
            nn.init.zeros_(layer.bias)

    def forward(self, lr: Tensor) -> Tensor:
        bicubic = x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return bicubic + self.layers[-1](x)

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file (w00…w19, b00…b19) in this net's names; other state dicts are returned unchanged."""
        if not all(re.fullmatch(r"[wb]\d+", name) for name in state):
            return state
        kind = {"w": "weight", "b": "bias"}
        return {f"layers.{int(name[1:])}.{kind[name[0]]}": value for name, value in state.items()}
