"""SRResNet, SRGAN's generator (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
Adversarial Network", 2017, https://arxiv.org/abs/1609.04802, fig. 4).

Differs from the paper: LR and HR are both in 0…1 (the paper's HR is in -1…1).
"""

from torch import Tensor, nn

from sr.net.edsr import list_upsampling_factors
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


class SRResNetBlock(nn.Module):
    """Convolution, batch norm, PReLU, convolution, batch norm, skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SRResNet(nn.Module):
    """The paper's size by default: 64 wide, 16 blocks; ×4 and ×8 are two and three sub-pixel layers of ×2."""

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 64, blocks: PositiveInt = 16) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.head = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(SRResNetBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        steps = list_upsampling_factors(scale)
        self.receptive_field = compute_receptive_field(
            4 + 2 * blocks + 1 + 1, *((s, 1) for s in steps[:-1]), (steps[-1], 4)
        )
        self.upsampler = nn.Sequential(
            *(
                layer
                for s in steps
                for layer in (nn.Conv2d(width, width * s * s, 3, padding=1), nn.PixelShuffle(s), nn.PReLU())
            )
        )
        self.tail = nn.Conv2d(width, channels, 9, padding=4)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(lr)  # [B, width, h, w]
        x = x + self.body(x)
        return self.tail(self.upsampler(x))  # [B, C, s·h, s·w]
