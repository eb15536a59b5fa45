"""EDSR's blocks (Lim et al., 2017, https://arxiv.org/abs/1707.02921) added to bicubic upscaling.

The best result of a search for the highest PSNR after a few minutes on two cores (experiments/quick_x2). Nothing is
computed at HR size: one convolution and a pixel shuffle upscale, as in ESPCN (Shi et al., 2016), and their output is
added to that of `imresize`.
"""

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x).relu())


class Residual(nn.Module):
    """210,052 parameters for luma at ×2, 48 wide, 5 blocks."""

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 48, blocks: PositiveInt = 5) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(2 * blocks + 2)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self._initialize()

    def _initialize(self) -> None:
        """Use He initialization, a tenth of it at the end of each block, and zeros for the last layer.

        So the untrained net *is* bicubic upscaling.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        for block in self.body:
            block.conv2.weight.data *= 0.1
        nn.init.zeros_(self.tail.weight)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.body(self.head(lr))  # [B, width, h, w]
        return self.shuffle(self.tail(x)) + imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
