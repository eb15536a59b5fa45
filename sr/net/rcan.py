"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", 2018,
https://arxiv.org/abs/1807.02758).

Parameter names follow the official code (yulunzhang/RCAN). Like there the body sees 0…255, and it must: the sigmoid of
the channel attention does not scale with its input.
"""

from torch import Tensor, nn

from sr.net.edsr import mean_color, upsampler


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class CALayer(nn.Module):
    """Channel attention: each channel weighed by what all their means say."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        inner = max(width // reduction, 1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(width, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))  # [B, width, 1, 1] -> [B, width, h, w]


class RCANResidual(nn.Module):
    """`x + body(x)`: the block (RCAB), and the group of blocks with a convolution after them."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class RCAN(nn.Module):
    """The paper's size: 10 groups of 20 blocks, 64 wide; 15,444,643 parameters at ×2 (and 24 of the mean shifts)."""

    def __init__(
        self, scale: int, channels: int = 3, width: int = 64, groups: int = 10, blocks: int = 20, reduction: int = 16
    ) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_field = None  # the attention is that of the whole picture
        self.register_buffer("mean", mean_color(channels), persistent=False)

        def block() -> RCANResidual:
            return RCANResidual(
                _conv(width, width), nn.ReLU(inplace=True), _conv(width, width), CALayer(width, reduction)
            )

        def group() -> RCANResidual:
            return RCANResidual(*(block() for _ in range(blocks)), _conv(width, width))

        self.head = nn.Sequential(_conv(channels, width))
        self.body = nn.Sequential(*(group() for _ in range(groups)), _conv(width, width))
        self.tail = nn.Sequential(upsampler(scale, width), _conv(width, channels))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head((lr - self.mean) * 255)  # [B, width, h, w]
        x = x + self.body(x)
        return self.tail(x) / 255 + self.mean  # [B, C, s·h, s·w]

    @staticmethod
    def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' file without its mean shifts, which are ours; any other state dict is returned as it came.

        So is one trained on 0…1, which then fits by its shifts no more: channel attention is not homogeneous, and no
        factor would mend it.
        """
        if "sub_mean.bias" not in state or state["sub_mean.bias"].abs().max() <= 1:
            return state
        return {name: value for name, value in state.items() if not name.startswith(("sub_mean.", "add_mean."))}
