"""SRGAN's discriminator (Ledig et al., 2017, https://arxiv.org/abs/1609.04802, fig. 4).

Differs from the paper: the features are averaged to 6×6 (96×96 input: exactly the paper's size) before the dense
layers, so that inputs of 16×16 or more are possible; the last sigmoid is part of the loss, the output is a logit. ESRGAN's
differs from this one in its strided kernels (4×4), a fifth halving for its 128×128 input, and 100 dense units.
"""

from typing import Literal

from torch import Tensor, nn

from sr.discriminator.conv_layer import conv_layer
from sr.runtime.option_types import PositiveInt


class VGG(nn.Module):
    """HR-sized images `[B, C, H, W]` -> logits `[B, 1]`; below 96×96 neighbors among the 6×6 averaged features are equal."""

    def __init__(
        self,
        channels: int = 3,
        width: PositiveInt = 64,
        dense: PositiveInt = 1024,
        norm: Literal["batch", "spectral", "none"] = "batch",
    ) -> None:
        super().__init__()
        self.is_repeatable = norm != "spectral"
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        c_in = width
        for factor, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            layers += conv_layer(c_in, width * factor, kernel=3, stride=stride, norm=norm)
            c_in = width * factor
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(6),
            nn.Flatten(),
            nn.Linear(c_in * 36, dense),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(dense, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image))
