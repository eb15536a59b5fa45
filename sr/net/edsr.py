"""EDSR (Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017,
https://arxiv.org/abs/1707.02921).

Parameter names follow the official code (sanghyun-son/EDSR-PyTorch), and so do the shifts by DIV2K's mean color.
Images are in 0…1 here and in 0…255 there: `from_published` rescales the weights.
"""

import torch
from torch import Tensor, nn

from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveFloat, PositiveInt

OPEN = 100.0  # the sigmoid of which is 1
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


def make_mean_shifts() -> dict[str, Tensor]:
    """Return the weights of the official code's layers that subtract DIV2K's mean color from RGB in 0…255 and add it."""
    mean, identity = 255 * torch.tensor(MEAN), torch.eye(3)[:, :, None, None]
    return {
        "sub_mean.weight": identity, "sub_mean.bias": -mean, "add_mean.weight": identity.clone(), "add_mean.bias": mean
    }  # fmt: skip


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

    def to_spandrel(self) -> dict[str, Tensor]:
        """Return the weights of an equal RCAN, which spandrel knows: one group, without attention, of RGB in 0…255.

        RCAN adds the head twice, after the group and after the body. So the group computes a half of everything (ReLU
        commutes with positive factors) until its last convolution doubles it; the body's last one is the identity.
        """
        width, blocks = self.head[0].out_channels, len(self.body) - 1
        scale = self.body[0].res_scale
        state = make_mean_shifts() | _rescale(self.head[0], "head.0", 0.5, 127.5)
        for k in range(blocks):
            name, layers = f"body.0.body.{k}.body", self.body[k].body
            state |= _rescale(layers[0], f"{name}.0", 1, 127.5) | _rescale(layers[2], f"{name}.2", scale, 127.5 * scale)
            state |= {
                f"{name}.3.conv_du.0.weight": torch.zeros(1, width, 1, 1), f"{name}.3.conv_du.0.bias": torch.zeros(1),
                f"{name}.3.conv_du.2.weight": torch.zeros(width, 1, 1, 1),
                f"{name}.3.conv_du.2.bias": torch.full((width,), OPEN),
            }  # fmt: skip
        state |= _rescale(self.body[-1], f"body.0.body.{blocks}", 2, 255)
        state |= {"body.1.weight": nn.init.dirac_(torch.empty(width, width, 3, 3)), "body.1.bias": torch.zeros(width)}
        for name, layer in self.tail.named_modules(prefix="tail"):
            if isinstance(layer, nn.Conv2d):
                state |= _rescale(layer, name, 1, 255)
        return state


def _rescale(conv: nn.Conv2d, name: str, weight: float, bias: float) -> dict[str, Tensor]:
    return {f"{name}.weight": conv.weight.detach() * weight, f"{name}.bias": conv.bias.detach() * bias}
