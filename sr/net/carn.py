"""CARN (Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", 2018,
https://arxiv.org/abs/1803.08664).

Parameter names and range (RGB, 0…1) follow the official code (nmhkahn/CARN-pytorch) at the time of its published files,
which convolves before the pixel shuffle. Those files hold upsamplers for ×2, ×3 and ×4; this net has only the one of
its scale. ×8, which the paper does not have, is three times ×2.
"""

import torch
from torch import Tensor, nn

from sr.net.edsr import list_upsampling_factors, make_mean_color
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt


class BasicBlock(nn.Module):
    """1×1 convolution and ReLU, which fuse the outputs of a cascade."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c_in, c_out, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class CARNResidualBlock(nn.Module):
    """Two 3×3 convolutions with a skip connection, ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class Cascade(nn.Module):
    """Three steps; the input of each is a 1×1 convolution of all outputs before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = (BasicBlock(width * k, width) for k in (2, 3, 4))

    def get_steps(self) -> tuple[nn.Module, ...]:
        """Return the three blocks of the cascade."""
        return self.b1, self.b2, self.b3

    def forward(self, x: Tensor) -> Tensor:
        outputs = x
        for step, fuse in zip(self.get_steps(), (self.c1, self.c2, self.c3), strict=True):
            outputs = torch.cat([outputs, step(x)], dim=1)  # [B, 2·width, h, w], then 3·width, then 4·width
            x = fuse(outputs)  # [B, width, h, w]
        return x


class CascadingBlock(Cascade):
    """A cascading block of three residual blocks."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.b1, self.b2, self.b3 = (CARNResidualBlock(width) for _ in range(3))


class Upsample(nn.Module):
    """Grouped convolution, ReLU and pixel shuffle; its name is that of the scale in the official files: `up4.body.0`."""

    def __init__(self, scale: int, width: int, group: int) -> None:
        super().__init__()
        self.name, body = f"up{scale}", []
        for s in list_upsampling_factors(scale):
            body += [nn.Conv2d(width, width * s * s, 3, padding=1, groups=group), nn.ReLU(), nn.PixelShuffle(s)]
        self.add_module(self.name, nn.ModuleDict({"body": nn.Sequential(*body)}))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)["body"](x)


class CARN(Cascade):
    """The paper's size: 64 wide; 1,592 K parameters, as in its tables, with the upsamplers of ×2, ×3 and ×4."""

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 64, group: PositiveInt = 1) -> None:
        super().__init__(width)
        self.scale, self.channels = scale, channels
        self.receptive_field = compute_receptive_field(
            1 + 3 * 3 * 2 + 1, *((s, 1) for s in list_upsampling_factors(scale))
        )
        self.register_buffer("mean", make_mean_color(channels), persistent=False)
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.b1, self.b2, self.b3 = (self.make_block(width, group) for _ in range(3))
        self.upsample = Upsample(scale, width, group)
        self.exit = nn.Conv2d(width, channels, 3, padding=1)

    def make_block(self, width: int, group: int) -> Cascade:
        """Return a block of the cascade; the official CARN uses groups only in the upsampler, so `group` is not used."""
        return CascadingBlock(width)

    def forward(self, lr: Tensor) -> Tensor:
        x = super().forward(self.entry(lr - self.mean))  # [B, width, h, w]
        return self.exit(self.upsample(x)) + self.mean  # [B, C, s·h, s·w]

    def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file without its mean shifts, which are constants here, and the upsamplers of other scales.

        Any other state dict is returned unchanged.
        """
        if "sub_mean.shifter.bias" not in state:
            return state
        other_scales = (f"upsample.up{s}." for s in (2, 3, 4) if s != self.scale)
        unused = ("sub_mean.", "add_mean.", *other_scales)
        return {name: value for name, value in state.items() if not name.startswith(unused)}
