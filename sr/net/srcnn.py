"""SRCNN 9-1-5 (Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", 2014,
https://arxiv.org/abs/1501.00092).

Differs from the paper: the convolutions are padded, so that the output has the size of HR (the paper trains on the
valid region and cuts the border).
"""

from typing import Literal

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.bicubic_init import initialize_as_identity, is_bicubic_initialization
from sr.net.receptive_field import compute_receptive_field_over_bicubic
from sr.runtime.option_types import PositiveInt


class SRCNN(nn.Module):
    """8,032 weights for luma, as in the paper's table (8,129 with biases); the input is upscaled bicubically first.

    `initialization=bicubic` changes only the initial weights: the untrained net copies its upscaled input.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 1,
        width: tuple[PositiveInt, PositiveInt] = (64, 32),
        middle: PositiveInt = 1,
        initialization: Literal["paper", "bicubic"] = "paper",
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field_over_bicubic(scale, 4 + middle // 2 + 2)
        self.conv1 = nn.Conv2d(channels, width[0], 9, padding=4, padding_mode="replicate")
        self.conv2 = nn.Conv2d(width[0], width[1], middle, padding=middle // 2, padding_mode="replicate")
        self.conv3 = nn.Conv2d(width[1], channels, 5, padding=2, padding_mode="replicate")
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(conv.weight, std=0.001)  # section 4.1; biases of zero
            nn.init.zeros_(conv.bias)
        if is_bicubic_initialization(initialization):
            self._initialize_as_bicubic()

    def _initialize_as_bicubic(self) -> None:
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        for conv in (self.conv1, self.conv2, self.conv3):
            initialize_as_identity(conv, self.channels, is_first=conv is self.conv1)

    def forward(self, lr: Tensor) -> Tensor:
        x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())
