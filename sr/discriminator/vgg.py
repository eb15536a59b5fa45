"""SRGAN's discriminator (Ledig et al., 2017, https://arxiv.org/abs/1609.04802, fig. 4).

Differs from the paper: the features are averaged to 6×6 (96×96 input: exactly the paper's size) before the dense
layers, so that any input from 16×16 up will do; the last sigmoid is left to the loss, the output is a logit.
"""

from torch import Tensor, nn


class VGG(nn.Module):
    """HR-sized images `[B, C, H, W]` -> logits `[B, 1]`."""

    def __init__(self, channels: int = 3, width: int = 64, dense: int = 1024) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        wide = width
        for factor, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            layers += [
                nn.Conv2d(wide, width * factor, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width * factor),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            wide = width * factor
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(6),
            nn.Flatten(),
            nn.Linear(wide * 36, dense),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(dense, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image))
