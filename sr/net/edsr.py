"""EDSR (Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017,
https://arxiv.org/abs/1707.02921).

Parameter names follow the official code (sanghyun-son/EDSR-PyTorch), and so do the shifts by DIV2K's mean color.
Images are in 0…1 here and in 0…255 there: `from_published` rescales the weights.
"""

import torch
from torch import Tensor, nn

from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveFloat, PositiveInt

MEAN = (0.4488, 0.4371, 0.4040)  # DIV2K, RGB in 0…1


def make_mean_color(channels: int) -> Tensor:
    """Return DIV2K's mean color `[1, C, 1, 1]`; for images that are not RGB, the mean of its three values."""
    return torch.tensor(MEAN if channels == 3 else (sum(MEAN) / 3,) * channels).view(1, -1, 1, 1)


def list_upsampling_factors(scale: int) -> list[int]:
    """Return the factors of the steps of an upsampler: one step for ×2 and ×3, two ×2 for ×4, three ×2 for ×8."""
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


def make_upsampler(scale: int, width: int) -> nn.Sequential:
    """Return a convolution and a pixel shuffle for each of the upsampling factors."""
    return nn.Sequential(
        *(part for s in list_upsampling_factors(scale) for part in (_conv(width, width * s * s), nn.PixelShuffle(s)))
    )


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class ResBlock(nn.Module):
    """Two convolutions without batch norm (fig. 2c), scaled by `res_scale` before the sum."""

    def __init__(self, width: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(inplace=True), _conv(width, width))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) * self.res_scale


class EDSR(nn.Module):
    """The EDSR baseline by default: 64 wide, 16 blocks, 1.37 M parameters at ×2; the paper's EDSR has 256, 32, 0.1."""

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 64,
        blocks: PositiveInt = 16,
        res_scale: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(
            2 * blocks + 3, *((s, 1) for s in list_upsampling_factors(scale))
        )
        self.register_buffer("mean", make_mean_color(channels), persistent=False)
        self.head = nn.Sequential(_conv(channels, width))
        self.body = nn.Sequential(*(ResBlock(width, res_scale) for _ in range(blocks)), _conv(width, width))
        self.tail = nn.Sequential(make_upsampler(scale, width), _conv(width, channels))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(lr - self.mean)  # [B, width, h, w]
        x = x + self.body(x)
        return self.tail(x) + self.mean  # [B, C, s·h, s·w]

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file in this net's names and value range; any other state dict is returned unchanged.

        Convolutions and ReLU commute with a positive factor, so dividing every bias turns 0…255 into 0…1.
        """
        if "sub_mean.bias" not in state:
            return state
        peak = 255 if state["sub_mean.bias"].abs().max() > 1 else 1  # the shift is peak·mean
        own = {name: value for name, value in state.items() if not name.startswith(("sub_mean.", "add_mean."))}
        return {name: value / peak if name.endswith(".bias") else value for name, value in own.items()}
