"""CARN (Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", 2018,
https://arxiv.org/abs/1803.08664).

Parameter names and range (RGB, 0…1) follow the official code (nmhkahn/CARN-pytorch) at the time of its published files,
which convolves before the pixel shuffle. Those files hold upsamplers for ×2, ×3 and ×4; this net has the one of its
scale, and ×8, which the paper does not have, is three times ×2.
"""

import torch
from torch import Tensor, nn

from sr.net.edsr import factors, mean_color
from sr.net.receptive_field import field


class BasicBlock(nn.Module):
    """1×1 convolution and ReLU, where a cascade is gathered."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c_in, c_out, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class CARNResidualBlock(nn.Module):
    """Two 3×3 convolutions, ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class Cascade(nn.Module):
    """Three steps, each fed with the 1×1 mixture of all that came before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = (BasicBlock(width * k, width) for k in (2, 3, 4))

    def steps(self) -> tuple[nn.Module, ...]:
        """The three blocks that are cascaded."""
        return self.b1, self.b2, self.b3

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for step, mix in zip(self.steps(), (self.c1, self.c2, self.c3), strict=True):
            seen = torch.cat([seen, step(x)], dim=1)  # [B, 2·width, h, w], then 3, then 4
            x = mix(seen)
        return x


class CascadingBlock(Cascade):
    """A cascading block of three residual blocks."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.b1, self.b2, self.b3 = (CARNResidualBlock(width) for _ in range(3))


class Upsample(nn.Module):
    """Grouped convolution, ReLU, pixel shuffle, under the name that the scale has in the file: `up4.body.0`."""

    def __init__(self, scale: int, width: int, group: int) -> None:
        super().__init__()
        self.name, body = f"up{scale}", []
        for s in factors(scale):
            body += [nn.Conv2d(width, width * s * s, 3, padding=1, groups=group), nn.ReLU(), nn.PixelShuffle(s)]
        self.add_module(self.name, nn.ModuleDict({"body": nn.Sequential(*body)}))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)["body"](x)


class CARN(Cascade):
    """The paper's size: 64 wide; 1,592 K parameters, as in its tables, with the upsamplers of ×2, ×3 and ×4."""

    def __init__(self, scale: int, channels: int = 3, width: int = 64, group: int = 1) -> None:
        super().__init__(width)
        self.scale = scale
        self.receptive_field = field(1 + 3 * 3 * 2 + 1, *((s, 1) for s in factors(scale)))
        self.register_buffer("mean", mean_color(channels), persistent=False)
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.b1, self.b2, self.b3 = (self.block(width, group) for _ in range(3))
        self.upsample = Upsample(scale, width, group)
        self.exit = nn.Conv2d(width, channels, 3, padding=1)

    def block(self, width: int, group: int) -> Cascade:
        """What is cascaded; the official code groups the upsampler's convolutions alone."""
        return CascadingBlock(width)

    def forward(self, lr: Tensor) -> Tensor:
        x = super().forward(self.entry(lr - self.mean))  # [B, width, h, w]
        return self.exit(self.upsample(x)) + self.mean  # [B, C, s·h, s·w]

    def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' file without its mean shifts, which are ours, and without upsamplers of other scales; any other
        state dict is returned as it came."""
        if "sub_mean.shifter.bias" not in state:
            return state
        others = (f"upsample.up{s}." for s in (2, 3, 4) if s != self.scale)
        foreign = ("sub_mean.", "add_mean.", *others)
        return {name: value for name, value in state.items() if not name.startswith(foreign)}
