"""PatchGAN (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017,
https://arxiv.org/abs/1611.07004, section 3.2.2): judges overlapping patches, 70×70 pixels each at depth 3.

Differs from the paper: not conditioned on LR.
"""

from torch import Tensor, nn


class Patch(nn.Module):
    """Images `[B, C, H, W]` -> a map of logits `[B, 1, h, w]`; `depth` strided layers need H, W >= 2^(depth + 2)."""

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        wide = width
        for level in range(1, depth + 1):
            wider = width * min(2**level, 8)
            layers += [
                nn.Conv2d(wide, wider, 4, stride=2 if level < depth else 1, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            wide = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)
