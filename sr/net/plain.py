"""Plain convolutions at low resolution, pixel shuffle, over a bicubic guess: the smallest net worth a first run.

After ABPN (Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", 2021,
https://arxiv.org/abs/2105.09750), whose anchor, the repeated input, is here a bicubic enlargement: the net starts at
the baseline that it is measured against, so that seconds of training already show.
"""

from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import field


class Plain(nn.Module):
    """`depth` 3×3 convolutions of `width` channels; 41,356 parameters at ×2, RGB, 32 wide, 6 deep."""

    def __init__(self, scale: int, channels: int = 3, width: int = 32, depth: int = 6) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = field(max(depth, 2))  # the guess looks 2 far
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
        self.body = nn.Sequential(*layers)
        self._initialise()

    def _initialise(self) -> None:
        """He's, so that six ReLU layers do not fade (PyTorch's default may stand still for hundreds of steps), and a
        last layer of zeros: the untrained net *is* bicubic."""
        convs = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(convs[-1].weight)

    def forward(self, lr: Tensor) -> Tensor:
        return self.body(lr) + imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
