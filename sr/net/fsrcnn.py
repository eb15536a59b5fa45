"""FSRCNN (Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", 2016,
https://arxiv.org/abs/1608.00367): extract, shrink, map, expand at low resolution, then one transposed convolution.

The authors' code is Caffe and MATLAB; parameter names follow the common port (yjn870/FSRCNN-pytorch).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from sr.net.bicubic_init import initialize_as_identity, is_bicubic_initialization, make_bicubic_kernel
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


class FSRCNN(nn.Module):
    """FSRCNN(d=56, s=12, m=4): 12,464 weights for luma at every scale, as the paper counts (without biases and slopes).

    `initialization=bicubic` changes only the initial weights: the untrained net upscales bicubically.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 1,
        width: PositiveInt = 56,
        shrunk: PositiveInt = 12,
        depth: PositiveInt = 4,
        initialization: Literal["paper", "bicubic"] = "paper",
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(
            2 + depth + 1 + 3 // scale
        )  # the last layer sees farther to the right and down
        self.first_part = nn.Sequential(nn.Conv2d(channels, width, 5, padding=2), nn.PReLU(width))
        middle = [nn.Conv2d(width, shrunk, 1), nn.PReLU(shrunk)]
        for _ in range(depth):
            middle += [nn.Conv2d(shrunk, shrunk, 3, padding=1), nn.PReLU(shrunk)]
        self.mid_part = nn.Sequential(*middle, nn.Conv2d(shrunk, width, 1), nn.PReLU(width))
        self.last_part = nn.ConvTranspose2d(width, channels, 9, stride=scale, padding=4, output_padding=scale - 1)
        self._initialize_as_in_paper()
        if is_bicubic_initialization(initialization):
            self._initialize_as_bicubic()

    def _initialize_as_in_paper(self) -> None:
        """Use He initialization for PReLU (slope 0.25), and N(0, 0.001) for the transposed convolution."""
        for layer in (*self.first_part, *self.mid_part):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.last_part.weight, std=0.001)
        nn.init.zeros_(self.last_part.bias)

    @torch.no_grad()
    def _initialize_as_bicubic(self) -> None:
        for conv in (layer for layer in (*self.first_part, *self.mid_part) if isinstance(layer, nn.Conv2d)):
            initialize_as_identity(conv, self.channels, is_first=conv is self.first_part[0])
        self.last_part.weight[: self.channels] = 0
        for c in range(self.channels):
            self.last_part.weight[c, c] = make_bicubic_kernel(9, self.scale)

    def forward(self, lr: Tensor) -> Tensor:
        return self.last_part(self.mid_part(self.first_part(lr)))  # [B, C, h, w] -> [B, C, s·h, s·w]
