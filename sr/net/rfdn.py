"""RFDN (Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", 2020,
https://arxiv.org/abs/2009.11551), as it won AIM 2020's challenge of efficient super-resolution.

Parameter names follow the official code (njulj/RFDN): its file loads as it is. Like there the net sees 0…255, and for
its weights it must: the sigmoid of the attention does not scale with its input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.receptive_field import field


def _conv(c_in: int, c_out: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, padding=size // 2)


class ESA(nn.Module):
    """Enhanced spatial attention (RFANet, Liu et al. 2020): a mask made at a sixth of the size, for a wide view."""

    SMALLEST = 15  # a stride of 2 and a window of 7 need as much
    REACH = 40  # LR pixels to each side at most, over all sizes of the picture, which the grid is stretched to

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(width // 4, 1)
        self.conv1 = _conv(width, inner, 1)
        self.conv_f = _conv(inner, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv_max = _conv(inner, inner)
        self.conv3 = _conv(inner, inner)
        self.conv3_ = _conv(inner, inner)
        self.conv4 = _conv(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        near = wide = self.conv1(x)  # [B, width/4, h, w]
        if min(h, w) < self.SMALLEST:
            wide = F.pad(wide, (0, max(self.SMALLEST - w, 0), 0, max(self.SMALLEST - h, 0)), mode="replicate")
        wide = F.max_pool2d(self.conv2(wide), kernel_size=7, stride=3)  # [B, width/4, ~h/6, ~w/6]
        wide = self.conv3_(self.conv3(self.conv_max(wide).relu()).relu())
        wide = F.interpolate(wide, (h, w), mode="bilinear", align_corners=False)
        return x * self.conv4(wide + self.conv_f(near)).sigmoid()


class RFDB(nn.Module):
    """Residual feature distillation: each step keeps half the channels by a 1×1 and goes on with all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kept = width // 2
        self.c1_d, self.c1_r = _conv(width, kept, 1), _conv(width, width)
        self.c2_d, self.c2_r = _conv(width, kept, 1), _conv(width, width)
        self.c3_d, self.c3_r = _conv(width, kept, 1), _conv(width, width)
        self.c4 = _conv(width, kept)
        self.c5 = _conv(4 * kept, width, 1)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.esa = ESA(width)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for keep, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            parts.append(self.act(keep(x)))  # [B, width/2, h, w]
            x = self.act(refine(x) + x)
        parts.append(self.act(self.c4(x)))
        return self.esa(self.c5(torch.cat(parts, dim=1)))


class RFDN(nn.Module):
    """The challenge's size: 50 wide, 4 blocks, 433,448 parameters at ×4."""

    def __init__(self, scale: int, channels: int = 3, width: int = 50, blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = field(1 + blocks * (4 + ESA.REACH) + 2)
        self.blocks = [f"B{k + 1}" for k in range(blocks)]
        self.fea_conv = _conv(channels, width)
        for name in self.blocks:
            self.add_module(name, RFDB(width))
        self.c = nn.Sequential(_conv(blocks * width, width, 1), nn.LeakyReLU(0.05, inplace=True))
        self.LR_conv = _conv(width, width)
        self.upsampler = nn.Sequential(_conv(width, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        first = x = self.fea_conv(lr * 255)  # [B, width, h, w]
        outputs = [x := self.get_submodule(name)(x) for name in self.blocks]
        x = first + self.LR_conv(self.c(torch.cat(outputs, dim=1)))
        return self.upsampler(x) / 255  # [B, C, s·h, s·w]
