"""CARN-M (Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", 2018,
https://arxiv.org/abs/1803.08664): the mobile CARN, with grouped convolutions that each block uses three times.

Parameter names, value range and scales are as in `sr.net.carn`.
"""

from torch import Tensor, nn

from sr.net.carn import CARN, Cascade
from sr.runtime.option_types import PositiveInt


class EResidualBlock(nn.Module):
    """Efficient residual block: two grouped 3×3 convolutions and a 1×1, ReLU after the sum."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=group),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, groups=group),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class SharedBlock(Cascade):
    """A cascading block whose three steps share their weights."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__(width)
        self.b1 = EResidualBlock(width, group)

    def get_steps(self) -> tuple[nn.Module, ...]:
        return self.b1, self.b1, self.b1


class CARNM(CARN):
    """The paper's size: 64 wide, groups of 4; 412 K weights, as in its tables, with the upsamplers of all scales."""

    def __init__(self, scale: int, channels: int = 3, width: PositiveInt = 64, group: PositiveInt = 4) -> None:
        super().__init__(scale, channels, width, group)

    def make_block(self, width: int, group: int) -> Cascade:
        return SharedBlock(width, group)
