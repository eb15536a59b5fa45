"""The net of the classic Keras tutorial: three 3×3 convolutions 64-32-1, ReLU, ReLU, sigmoid, over a bicubic guess.

As in the tutorial the last layer gives the picture itself, not a residual; what differs is the input, which here
really is of low resolution and is enlarged bicubically first.
"""

import torch
from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import over_bicubic


class Tutorial(nn.Module):
    """19,393 parameters for one channel."""

    def __init__(self, scale: int, channels: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = over_bicubic(scale, 3)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3):  # Keras' default initialisation
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, lr: Tensor) -> Tensor:
        x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        return torch.sigmoid(self.conv3(self.conv2(self.conv1(x).relu()).relu()))
