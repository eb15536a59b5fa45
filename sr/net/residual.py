"""EDSR's blocks (Lim et al., 2017, https://arxiv.org/abs/1707.02921) over a bicubic guess: the best of our own search
for the most PSNR in a few minutes of two cores (experiments/quick_x2).

Nothing is computed at HR's size: one convolution and pixel shuffle enlarge, as in ESPCN (Shi et al., 2016), and what
they make is added to `imresize`'s guess.
"""

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import field


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

    def __init__(self, scale: int, channels: int = 3, width: int = 48, blocks: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = field(2 * blocks + 2)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self._initialise()

    def _initialise(self) -> None:
        """He's, each block a tenth of it; the last layer zeros, so that the untrained net *is* bicubic."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        for block in self.body:
            block.conv2.weight.data *= 0.1
        nn.init.zeros_(self.tail.weight)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.body(self.head(lr))
        return self.shuffle(self.tail(x)) + imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
