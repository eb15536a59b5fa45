"""What travels: `Raw` from the disk to the device, `Pair` from there to the network, `Seen` from there to a measure."""

from typing import NamedTuple

from torch import Tensor


class Raw(NamedTuple):
    """One batch as the data loader hands it over: bytes, not yet degraded."""

    hr: Tensor  # uint8 [B, C, H, W]
    lr: Tensor | None = None  # uint8 [B, C, h, w]; None: made from `hr` on the device
    gray: bool = False  # whether the file of a whole picture holds one channel, repeated here
    seed: int | None = None  # of what is done to a training batch by chance, 0…2⁶³-1; None: pictures to be measured


class Pair(NamedTuple):
    """One batch as a network sees it: float, 0…1, `hr` exactly `scale` times as large as `lr`.

    float32 holds 8-bit levels; float64 an LR that is not rounded to 8 bits (`metric=vdsr`).
    """

    lr: Tensor  # [B, C, h, w]
    hr: Tensor  # [B, C, s·h, s·w]


class MetricInput(NamedTuple):
    """What a measure may look at: a batch of results, and what belongs to them."""

    x: Tensor  # the result as the protocol measures it: levels 0…255, border cut, float64 [B, 1 or C, H-2b, W-2b]
    y: Tensor  # HR likewise
    sr: Tensor  # the result rounded to 8 bits, 0…1, whole [B, C, H, W]
    hr: Tensor  # HR likewise
    lr: Tensor  # what the net was given, 0…1 [B, C, h, w]; float64: not rounded to 8 bits (metric=vdsr)
