"""RRDBNet, ESRGAN's generator (Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", 2018,
https://arxiv.org/abs/1809.00219) and Real-ESRGAN's (Wang et al. 2021, https://arxiv.org/abs/2107.10833).

Parameter names and range (RGB, 0…1) follow BasicSR and Real-ESRGAN; `from_published` translates ESRGAN's older ones. Their
×2 is a pixel unshuffle by 2 followed by ×4. They have no ×3 and ×8; here these are one nearest-neighbor ×3 and three ×2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr.net.dynamic_size import crop_to_size
from sr.net.receptive_field import compute_receptive_field
from sr.runtime.option_types import PositiveInt

OLD_NAMES = {
    "RRDB_trunk.": "body.", ".RDB": ".rdb", "trunk_conv.": "conv_body.", "upconv": "conv_up", "HRconv.": "conv_hr."
}  # fmt: skip


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, the input of each is all outputs before it (fig. 4); the result is scaled by 0.2 and added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for k in range(1, 6):
            conv = _conv(width + (k - 1) * growth, growth if k < 5 else width)
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.weight *= 0.1  # "smaller initialization", section 3.1
            self.add_module(f"conv{k}", conv)

    def forward(self, x: Tensor) -> Tensor:
        outputs = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            outputs = torch.cat([outputs, F.leaky_relu(conv(outputs), 0.2)], dim=1)  # [B, width + k·growth, h, w]
        return x + 0.2 * self.conv5(outputs)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks, whose result is scaled by 0.2 and added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (ResidualDenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """The paper's size: 64 wide, 23 blocks, growth 32; 16,697,987 parameters at ×4."""

    def __init__(
        self, scale: int, channels: int = 3, width: PositiveInt = 64, blocks: PositiveInt = 23, growth: PositiveInt = 32
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.unshuffle = 2 if scale == 2 else 1
        self.factors = [3] if scale == 3 else [2, 2, 2] if scale == 8 else [2, 2]
        field = compute_receptive_field(15 * blocks + 2, *((s, 1) for s in self.factors[:-1]), (self.factors[-1], 3))
        self.receptive_field = self.unshuffle * (field - 1) + 1
        self.conv_first = _conv(channels * self.unshuffle**2, width)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.conv_body = _conv(width, width)
        for k in range(len(self.factors)):
            self.add_module(f"conv_up{k + 1}", _conv(width, width))
        self.conv_hr = _conv(width, width)
        self.conv_last = _conv(width, channels)

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[2:]
        if self.unshuffle > 1:
            lr = F.pad(lr, (0, w % 2, 0, h % 2), mode="replicate")  # to even sizes; cropped below
            lr = F.pixel_unshuffle(lr, self.unshuffle)  # [B, C, h, w] -> [B, 4·C, h/2, w/2]

        # Features.
        x = self.conv_first(lr)  # [B, width, h, w]
        x = x + self.conv_body(self.body(x))

        # Upsampling.
        for k, s in enumerate(self.factors):
            x = F.interpolate(x, scale_factor=s, mode="nearest")
            x = F.leaky_relu(self.get_submodule(f"conv_up{k + 1}")(x), 0.2)
        x = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))
        return crop_to_size(x, (self.scale * h, self.scale * w))  # [B, C, s·h, s·w]

    @staticmethod
    def read_options(state: dict[str, Tensor]) -> dict[str, int]:
        """Return the options of the net that has these weights: Real-ESRGAN's for anime has 6 blocks."""
        return {
            "width": len(state["conv_body.weight"]),
            "blocks": sum(name.endswith(".rdb1.conv1.weight") for name in state),
            "growth": len(state["body.0.rdb1.conv1.weight"]),
        }

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file in this net's names; any other state dict is returned unchanged."""
        if not any(name.startswith("RRDB_trunk.") for name in state):
            return state
        return {_translate_old_name(name): value for name, value in state.items()}


def _translate_old_name(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name
