"""The net of the classic Keras tutorial: three 3×3 convolutions 64-32-1 with ReLU, ReLU and sigmoid.

As in the tutorial, the last layer outputs the image itself, not a residual. Differs in the input, which really has low
resolution here and is upscaled bicubically first.
"""

import torch
from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import compute_receptive_field_over_bicubic


class Tutorial(nn.Module):
    """19,393 parameters for one channel."""

    def __init__(self, scale: int, channels: int = 1) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field_over_bicubic(scale, 3)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3):  # Keras' default initialization
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, lr: Tensor) -> Tensor:
        x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        return torch.sigmoid(self.conv3(self.conv2(self.conv1(x).relu()).relu()))
