"""EFDN (Wang, "Edge-enhanced Feature Distillation Network for Efficient Super-Resolution", 2022,
https://arxiv.org/abs/2204.08759), in its deployed form, which is the published one.

The paper trains each 3×3 convolution as a sum of seven branches (EDBB) that are merged into one afterwards; here it is
one convolution from the start. Parameter names and range (RGB, 0…1) follow the official code, but nothing is clamped.
"""

import torch
from torch import Tensor, nn

from sr.net.receptive_field import compute_receptive_field
from sr.net.rfdn import ESA
from sr.runtime.option_types import PositiveInt


class Pointwise(nn.Module):
    """1×1 convolution and PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv1x1(x))


class EDBB(nn.Module):
    """Edge-enhanced diverse branch block, with its branches merged into one 3×3 convolution; PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rep_conv = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.rep_conv(x))


class Cell(nn.Module):
    """Edge-enhanced feature distillation block: half of the channels of each step are fused, then attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Pointwise(width), EDBB(width), EDBB(width)
        self.branch = nn.ModuleList(nn.Conv2d(width, width // 2, 1) for _ in range(4))
        self.fuse = nn.Conv2d(4 * (width // 2), width, 1)
        self.att = ESA(width)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for conv in (self.conv1, self.conv2, self.conv3):
            outputs.append(conv(outputs[-1]))
        distilled = [branch(output) for branch, output in zip(self.branch, outputs, strict=True)]  # [B, width/2, h, w]
        return x + self.att(self.fuse(torch.cat(distilled, dim=1)))


class EFDN(nn.Module):
    """The challenge's size: 48 wide, four cells, 276,192 parameters at ×4."""

    depends_on_size = True  # the grid of the pooling is stretched to the image

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 48) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(1 + 4 * (2 + ESA.REACH) + 1)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.cells = nn.ModuleList(Cell(width) for _ in range(4))
        self.local_fuse = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for _ in range(3))
        self.tail = nn.Sequential(nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        shallow = self.head(lr)  # [B, width, h, w]

        # Deep features. The output of the second cell is fused three times, as in the official code.
        first = self.cells[0](shallow)
        second = self.cells[1](first)
        x = self.local_fuse[0](torch.cat([first, second], dim=1))
        for cell, fuse in zip(self.cells[2:], self.local_fuse[1:], strict=True):
            x = fuse(torch.cat([second, cell(x)], dim=1))

        return self.tail(x + shallow)  # [B, C, s·h, s·w]
