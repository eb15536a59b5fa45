"""SRCNN 9-1-5 (Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", 2014,
https://arxiv.org/abs/1501.00092).

Differs from the paper: convolutions are padded, so that the output is as large as HR (the paper trains on the valid
region and cuts the border).
"""

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.bicubic_init import begins_as_bicubic, carry
from sr.net.receptive_field import over_bicubic


class SRCNN(nn.Module):
    """8,032 weights for luma, as in the paper's table (8,129 with biases); works on a bicubic guess.

    `start=bicubic` changes the initial weights alone: the net begins by handing that guess on.
    """

    def __init__(
        self, scale: int, channels: int = 1, width: tuple[int, int] = (64, 32), middle: int = 1, start: str = "paper"
    ) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = over_bicubic(scale, 4 + middle // 2 + 2)
        self.conv1 = nn.Conv2d(channels, width[0], 9, padding=4, padding_mode="replicate")
        self.conv2 = nn.Conv2d(width[0], width[1], middle, padding=middle // 2, padding_mode="replicate")
        self.conv3 = nn.Conv2d(width[1], channels, 5, padding=2, padding_mode="replicate")
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(conv.weight, std=0.001)  # section 4.1; the biases start at zero
            nn.init.zeros_(conv.bias)
        if begins_as_bicubic(start):
            self._begin_as_bicubic(channels)

    def _begin_as_bicubic(self, channels: int) -> None:
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        for conv in (self.conv1, self.conv2, self.conv3):
            carry(conv, channels, first=conv is self.conv1)

    def forward(self, lr: Tensor) -> Tensor:
        x = imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())
