"""Real-ESRGAN's discriminator (Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
Data", 2021, https://arxiv.org/abs/2107.10833, section 3.3, fig. 6): a U-Net with one logit for each pixel, after Schönfeld et
al., "A U-Net Based Discriminator for Generative Adversarial Networks", 2020, https://arxiv.org/abs/2002.12655.

Parameter names follow BasicSR's UNetDiscriminatorSN: its files load as they are. Images may have any size, in BasicSR only
multiples of 8.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from sr.discriminator.spectral import SpectralConv
from sr.runtime.option_types import PositiveInt


class UNet(nn.Module):
    """Images `[B, C, H, W]` -> a logit for each pixel, `[B, 1, H, W]`; 4,376,897 parameters at 3 channels and width 64."""

    def __init__(self, channels: int = 3, width: PositiveInt = 64) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv1 = _down(width, width * 2)
        self.conv2 = _down(width * 2, width * 4)
        self.conv3 = _down(width * 4, width * 8)
        self.conv4 = _same(width * 8, width * 4)
        self.conv5 = _same(width * 4, width * 2)
        self.conv6 = _same(width * 2, width)
        self.conv7 = _same(width, width)
        self.conv8 = _same(width, width)
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        x = F.pad(image, (0, -width % 8, 0, -height % 8), mode="reflect")  # halved three times; cropped below

        # Encoder.
        skips = []
        for conv in (self.conv0, self.conv1, self.conv2, self.conv3):
            x = _leaky(conv(x))
            skips.append(x)  # [B, width · 2^k, H / 2^k, W / 2^k]

        # Decoder with skip connections.
        for conv, skip in zip((self.conv4, self.conv5, self.conv6), reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = _leaky(conv(x)) + skip

        # Head.
        for conv in (self.conv7, self.conv8):
            x = _leaky(conv(x))
        return self.conv9(x)[..., :height, :width]  # [B, 1, H, W]


def _down(c_in: int, c_out: int) -> SpectralConv:
    return SpectralConv(c_in, c_out, 4, stride=2, padding=1)


def _same(c_in: int, c_out: int) -> SpectralConv:
    return SpectralConv(c_in, c_out, 3, padding=1)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
