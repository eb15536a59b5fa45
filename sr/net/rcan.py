"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", 2018,
https://arxiv.org/abs/1807.02758).

Parameter names follow the official code (yulunzhang/RCAN). As there, the body works in 0…255; it could not be rescaled
to 0…1, because the sigmoid of the channel attention does not scale with its input.
"""

from torch import Tensor, nn

from sr.net.edsr import make_mean_color, make_mean_shifts, make_upsampler
from sr.runtime.option_types import PositiveInt


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class CALayer(nn.Module):
    """Channel attention: each channel is weighted by a function of the means of all channels."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        inner = max(width // reduction, 1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(width, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))  # [B, width, 1, 1] -> [B, width, h, w]


class RCANResidual(nn.Module):
    """`x + body(x)`: a block (RCAB), or a group of blocks followed by a convolution."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class RCAN(nn.Module):
    """The paper's size: 10 groups of 20 blocks, 64 wide; 15,444,643 parameters at ×2 (and 24 of the mean shifts)."""

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 64,
        groups: PositiveInt = 10,
        blocks: PositiveInt = 20,
        reduction: PositiveInt = 16,
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        self.receptive_field = None  # unbounded: the channel attention pools over the whole image
        self.register_buffer("mean", make_mean_color(channels), persistent=False)

        def make_block() -> RCANResidual:
            return RCANResidual(
                _conv(width, width), nn.ReLU(inplace=True), _conv(width, width), CALayer(width, reduction)
            )

        def make_group() -> RCANResidual:
            return RCANResidual(*(make_block() for _ in range(blocks)), _conv(width, width))

        self.head = nn.Sequential(_conv(channels, width))
        self.body = nn.Sequential(*(make_group() for _ in range(groups)), _conv(width, width))
        self.tail = nn.Sequential(make_upsampler(scale, width), _conv(width, channels))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head((lr - self.mean) * 255)  # [B, width, h, w]
        x = x + self.body(x)
        return self.tail(x) / 255 + self.mean  # [B, C, s·h, s·w]

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' file without its mean shifts, which are constants here; others are returned unchanged.

        A file that was trained on 0…1 is returned unchanged, too, so that its shifts make loading fail: channel
        attention is not homogeneous, so that no factor could convert its weights.
        """
        if "sub_mean.bias" not in state or state["sub_mean.bias"].abs().max() <= 1:
            return state
        return {name: value for name, value in state.items() if not name.startswith(("sub_mean.", "add_mean."))}

    def to_spandrel(self) -> dict[str, Tensor]:
        """Return the weights as the official code stores them, with its mean shifts; for RGB."""
        return make_mean_shifts() | self.state_dict()
