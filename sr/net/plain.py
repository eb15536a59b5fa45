"""Plain convolutions at low resolution and pixel shuffle, added to bicubic upscaling: the smallest useful net.

After ABPN (Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", 2021,
https://arxiv.org/abs/2105.09750), whose anchor is the repeated input; here it is the bicubic upscaling, so that the
untrained net equals the baseline and seconds of training are already visible.
"""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from sr.image.resize import imresize
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


class Plain(nn.Module):
    """`depth` 3×3 convolutions of `width` channels; 41,356 parameters at ×2, RGB, 32 wide, 6 deep."""

    def __init__(
        self, scale: int, channels: int = 3, width: PositiveInt = 32, depth: Annotated[int, Ge(2)] = 6
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(max(depth, 2))  # bicubic upscaling itself has a reach of 2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
        self.body = nn.Sequential(*layers)
        self._initialize()

    def _initialize(self) -> None:
        """Use He initialization, and zeros for the last layer: the untrained net *is* bicubic upscaling.

        With PyTorch's default the signal fades through six ReLU layers, and training may stall for hundreds of steps.
        """
        convs = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(convs[-1].weight)

    def forward(self, lr: Tensor) -> Tensor:
        return self.body(lr) + imresize(lr, self.scale)  # [B, C, h, w] -> [B, C, s·h, s·w]
