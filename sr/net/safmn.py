"""SAFMN (Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution", 2023,
https://arxiv.org/abs/2302.13800).

Parameter names and range (RGB, 0…1) follow the official code (sunny2109/SAFMN): its files load as they are. Differs in
one thing: images smaller than 8 pixels are accepted.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.dynamic_size import pool_to_fraction, stretch_to_size
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveFloat, PositiveInt

LEVELS = 4  # of the pyramid; a quarter of the channels at each of the sizes 1, 1/2, 1/4, 1/8


class LayerNorm(nn.Module):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class SAFM(nn.Module):
    """Spatially-adaptive feature modulation: features are multiplied by a mask computed from them at four sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        part = width // LEVELS
        self.mfr = nn.ModuleList(nn.Conv2d(part, part, 3, padding=1, groups=part) for _ in range(LEVELS))
        self.aggr = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        levels = []
        for level, (part, conv) in enumerate(zip(x.chunk(LEVELS, dim=1), self.mfr, strict=True)):
            if level:
                part = pool_to_fraction(part, level)  # noqa: PLW2901
            levels.append(stretch_to_size(conv(part), (h, w)))  # [B, width/4, h, w]
        return F.gelu(self.aggr(torch.cat(levels, dim=1))) * x


class CCM(nn.Module):
    """Convolutional channel mixer: 3×3 to `ratio` times the width, GELU, 1×1 back to the width."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        inner = int(width * ratio)
        self.ccm = nn.Sequential(nn.Conv2d(width, inner, 3, padding=1), nn.GELU(), nn.Conv2d(inner, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.ccm(x)


class AttBlock(nn.Module):
    """Modulation, then channel mixing, each with a normalization before it and a skip connection."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.safm = SAFM(width)
        self.ccm = CCM(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.safm(self.norm1(x))
        return x + self.ccm(self.norm2(x))


class SAFMN(nn.Module):
    """The paper's size: 36 wide, 8 blocks; 228 K parameters at ×2, 233 K at ×3, 240 K at ×4. SAFMN-L: 128, 16."""

    depends_on_size = True  # the grid of the pooling is stretched to the image

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 36,
        blocks: PositiveInt = 8,
        ratio: PositiveFloat = 2.0,
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        # First and last convolution: 2. Each block: 16, of which 15 come from two pooling cells of 8 pixels. At most 7
        # more if the size is not a multiple of 8, because the pooling windows are stretched to it.
        self.receptive_field = compute_receptive_field(2 + 16 * blocks + 7)
        self.to_feat = nn.Conv2d(channels, width, 3, padding=1)
        self.feats = nn.Sequential(*(AttBlock(width, ratio) for _ in range(blocks)))
        self.to_img = nn.Sequential(nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.to_feat(lr)  # [B, width, h, w]
        return self.to_img(x + self.feats(x))  # [B, C, s·h, s·w]
