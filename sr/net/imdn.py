"""IMDN (Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", 2019,
https://arxiv.org/abs/1909.11856).

Parameter names and range (RGB, 0…1) follow the official code (Zheng222/IMDN): its files load as they are. Differs in
one thing: the variance in the contrast is at least 1e-12, because the square root has no gradient at 0 (flat channels).
"""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional as F

from sr.runtime.option_types import PositiveInt


def _conv(c_in: int, c_out: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, padding=size // 2)


class CCALayer(nn.Module):
    """Contrast-aware channel attention: each channel is weighted by a function of its mean plus standard deviation."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(width // reduction, 1)
        self.conv_du = nn.Sequential(
            _conv(width, inner, 1), nn.ReLU(inplace=True), _conv(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # [B, width, 1, 1]
        deviation = x - mean
        variance = (deviation * deviation).mean((2, 3), keepdim=True)  # in onnxruntime, a power is slower
        return x * self.conv_du(mean + variance.clamp_min(1e-12).sqrt())


class IMDModule(nn.Module):
    """Information multi-distillation: three times a quarter of the channels is split off, the rest is processed on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        distilled = width // 4
        self.split = (distilled, width - distilled)
        self.c1 = _conv(width, width)
        self.c2 = _conv(width - distilled, width)
        self.c3 = _conv(width - distilled, width)
        self.c4 = _conv(width - distilled, distilled)
        self.c5 = _conv(4 * distilled, width, 1)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.cca = CCALayer(4 * distilled)

    def forward(self, x: Tensor) -> Tensor:
        parts, rest = [], x
        for conv in (self.c1, self.c2, self.c3):
            part, rest = self._distill(conv, rest)  # [B, width/4, h, w], [B, 3·width/4, h, w]
            parts.append(part)
        parts.append(self.c4(rest))
        return x + self.c5(self.cca(torch.cat(parts, dim=1)))

    def _distill(self, conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, ...]:
        """Convolve and split the result; in a graph by two convolutions, because onnxruntime copies what is split."""
        if not is_exporting():
            return self.act(conv(x)).split(self.split, dim=1)
        parts = (slice(self.split[0]), slice(self.split[0], None))
        return tuple(self.act(F.conv2d(x, conv.weight[part], conv.bias[part], padding=1)) for part in parts)


class IMDN(nn.Module):
    """The paper's size: 64 wide, 6 blocks; 694,404 parameters at ×2, 703,059 at ×3, 715,176 at ×4."""

    def __init__(
        self, scale: int, channels: int = 3, width: Annotated[int, Ge(4)] = 64, blocks: PositiveInt = 6
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = None  # unbounded: the contrast is computed over the whole image
        self.blocks = [f"IMDB{k + 1}" for k in range(blocks)]
        self.fea_conv = _conv(channels, width)
        for name in self.blocks:
            self.add_module(name, IMDModule(width))
        self.c = nn.Sequential(_conv(blocks * width, width, 1), nn.LeakyReLU(0.05, inplace=True))
        self.LR_conv = _conv(width, width)
        self.upsampler = nn.Sequential(_conv(width, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        shallow = x = self.fea_conv(lr)  # [B, width, h, w]
        outputs = [x := self.get_submodule(name)(x) for name in self.blocks]
        x = shallow + self.LR_conv(self.c(torch.cat(outputs, dim=1)))
        return self.upsampler(x)  # [B, C, s·h, s·w]
