"""SPAN (Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", 2024,
https://arxiv.org/abs/2311.12770).

Parameter names and range (RGB, 0…1, and 0…255 within) follow the official code (hongyuanyu/SPAN). There,
each `Conv3XC` computes three convolutions and a skip in training, and one merged convolution in validation; here the
weights are merged first in both: the same function with the same gradients, with one convolution of the image.
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.edsr import make_mean_color
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt

GAIN = 2  # the branch is wider inside by this factor
BRANCH_NAME = re.compile(r"(.*)\.(conv\.[012]|sk)\.(weight|bias)")  # of a parameter of a Conv3XC


class Conv3XC(nn.Module):
    """A 3×3 convolution, parametrized as 1×1, 3×3, 1×1 with a parallel 1×1, unless it is `deployed`."""

    def __init__(self, c_in: int, c_out: int, deployed: bool) -> None:
        super().__init__()
        if deployed:
            self.eval_conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        else:
            self.sk = nn.Conv2d(c_in, c_out, 1)
            self.conv = nn.Sequential(
                nn.Conv2d(c_in, GAIN * c_in, 1),
                nn.Conv2d(GAIN * c_in, GAIN * c_out, 3),
                nn.Conv2d(GAIN * c_out, c_out, 1),
            )

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "eval_conv"):
            return self.eval_conv(x)
        return F.conv2d(x, *merge_branches(dict(self.named_parameters()), ""), padding=1)


def merge_branches(state: dict[str, Tensor], prefix: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the 3×3 convolution that equals the sum of the branches under `prefix`.

    The branch pads with zeros before its *first* convolution, so the biases pass through it as if there were no border.
    """
    w1, w2, w3, skip = (state[f"{prefix}{name}.weight"] for name in ("conv.0", "conv.1", "conv.2", "sk"))
    b1, b2, b3, shift = (state[f"{prefix}{name}.bias"] for name in ("conv.0", "conv.1", "conv.2", "sk"))
    w1, w3 = w1.flatten(1), w3.flatten(1)  # [2·c_in, c_in], [c_out, 2·c_out]
    weight = torch.einsum("om,mnyx,ni->oiyx", w3, w2, w1) + F.pad(skip, (1, 1, 1, 1))
    bias = w3 @ (w2.sum((2, 3)) @ b1 + b2) + b3 + shift
    return weight, bias


class SPAB(nn.Module):
    """Swift parameter-free attention: three convolutions whose sigmoid is the mask of their own output."""

    def __init__(self, width: int, deployed: bool) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (Conv3XC(width, width, deployed) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.c1_r(x))
        last = self.c3_r(F.silu(self.c2_r(first)))
        return (last + x) * (last.sigmoid() - 0.5), first


class SPAN(nn.Module):
    """48 wide, six blocks: 411 K parameters at ×2 and 426 K at ×4 deployed, 1.8 M in training; 52 wide: 498 K at ×4."""

    BLOCKS = 6

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 48, deployed: bool = False) -> None:
        super().__init__()
        self.scale, self.channels, self.width = scale, channels, width
        self.receptive_field = compute_receptive_field(1 + 3 * self.BLOCKS + 1 + 1)
        self.register_buffer("mean", make_mean_color(channels), persistent=False)
        self.conv_1 = Conv3XC(channels, width, deployed)
        for k in range(self.BLOCKS):
            self.add_module(f"block_{k + 1}", SPAB(width, deployed))
        self.conv_cat = nn.Conv2d(4 * width, width, 1)
        self.conv_2 = Conv3XC(width, width, deployed)
        self.upsampler = nn.Sequential(nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        outputs = [self.conv_1((lr - self.mean) * 255)]  # [B, width, h, w]
        for k in range(self.BLOCKS):
            x, first = self.get_submodule(f"block_{k + 1}")(outputs[-1])
            outputs.append(x)
        x = torch.cat([outputs[0], self.conv_2(outputs[-1]), outputs[1], first], dim=1)
        return self.upsampler(self.conv_cat(x))  # [B, C, s·h, s·w]

    def deploy(self) -> "SPAN":
        """Return an equal net with one convolution in place of each four: a fifth of the parameters, not for training."""
        net = SPAN(self.scale, self.channels, self.width, deployed=True).to(self.mean)
        net.load_state_dict(net.from_published(self.state_dict()))
        return net.train(self.training)

    def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file, which holds both forms, in the form of this net; a deployed net merges the branches."""
        branches = {match[1] for name in state if (match := BRANCH_NAME.fullmatch(name))}
        if not branches:
            return state
        if hasattr(self.conv_1, "sk"):
            return {name: value for name, value in state.items() if ".eval_conv." not in name}
        deployed = {name: value for name, value in state.items() if not BRANCH_NAME.fullmatch(name)}
        for name in branches:
            weight, bias = merge_branches(state, f"{name}.")
            deployed |= {f"{name}.eval_conv.weight": weight.detach(), f"{name}.eval_conv.bias": bias.detach()}
        return deployed
