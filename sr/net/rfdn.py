"""RFDN (Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", 2020,
https://arxiv.org/abs/2009.11551), as it won AIM 2020's challenge of efficient super-resolution.

Parameter names follow the official code (njulj/RFDN): its file loads as it is. As there, the net works in 0…255; its
weights could not be rescaled to 0…1, because the sigmoid of the attention does not scale with its input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.dynamic_size import pad_to_side
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


def _conv(c_in: int, c_out: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, padding=size // 2)


class ESA(nn.Module):
    """Enhanced spatial attention (RFANet, Liu et al. 2020): a mask computed at a sixth of the size, for a large view."""

    MIN_SIDE = 15  # LR pixels that a stride of 2 followed by a window of 7 needs
    REACH = 40  # LR pixels to each side, the maximum over all image sizes: the grid is stretched to the image

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
        local = pooled = self.conv1(x)  # [B, width/4, h, w]

        # Large view at a sixth of the size; small images are padded.
        pooled = pad_to_side(pooled, self.MIN_SIDE)
        pooled = F.max_pool2d(self.conv2(pooled), kernel_size=7, stride=3)  # [B, width/4, ~h/6, ~w/6]
        pooled = self.conv3_(self.conv3(self.conv_max(pooled).relu()).relu())
        pooled = F.interpolate(pooled, (h, w), mode="bilinear", align_corners=False)  # [B, width/4, h, w]

        return x * self.conv4(pooled + self.conv_f(local)).sigmoid()


class RFDB(nn.Module):
    """Residual feature distillation: each step distills half of the channels with a 1×1 and refines all of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        distilled = width // 2
        self.c1_d, self.c1_r = _conv(width, distilled, 1), _conv(width, width)
        self.c2_d, self.c2_r = _conv(width, distilled, 1), _conv(width, width)
        self.c3_d, self.c3_r = _conv(width, distilled, 1), _conv(width, width)
        self.c4 = _conv(width, distilled)
        self.c5 = _conv(4 * distilled, width, 1)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.esa = ESA(width)

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for distill, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            parts.append(self.act(distill(x)))  # [B, width/2, h, w]
            x = self.act(refine(x) + x)
        parts.append(self.act(self.c4(x)))
        return self.esa(self.c5(torch.cat(parts, dim=1)))


class RFDN(nn.Module):
    """The challenge's size: 50 wide, 4 blocks, 433,448 parameters at ×4."""

    depends_on_size = True  # the grid of the pooling is stretched to the image

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 50, blocks: PositiveInt = 4) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(1 + blocks * (4 + ESA.REACH) + 2)
        self.blocks = [f"B{k + 1}" for k in range(blocks)]
        self.fea_conv = _conv(channels, width)
        for name in self.blocks:
            self.add_module(name, RFDB(width))
        self.c = nn.Sequential(_conv(blocks * width, width, 1), nn.LeakyReLU(0.05, inplace=True))
        self.LR_conv = _conv(width, width)
        self.upsampler = nn.Sequential(_conv(width, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        shallow = x = self.fea_conv(lr * 255)  # [B, width, h, w]
        outputs = [x := self.get_submodule(name)(x) for name in self.blocks]
        x = shallow + self.LR_conv(self.c(torch.cat(outputs, dim=1)))
        return self.upsampler(x) / 255  # [B, C, s·h, s·w]
