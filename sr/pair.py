"""What travels: `Raw` from the disk to the device, `Pair` from there to the network."""

from typing import NamedTuple

from torch import Tensor


class Raw(NamedTuple):
    """One batch as the data loader hands it over: bytes, not yet degraded, not yet turned."""

    hr: Tensor  # uint8 [B, C, H, W]
    lr: Tensor | None = None  # uint8 [B, C, h, w]; None: made from `hr` on the device
    turn: Tensor | None = None  # uint8 [B], 0…7: bit 0 flips left-right, bit 1 up-down, bit 2 transposes


class Pair(NamedTuple):
    """One batch as a network sees it: float, 0…1, `hr` exactly `scale` times as large as `lr`."""

    lr: Tensor  # [B, C, h, w]
    hr: Tensor  # [B, C, s·h, s·w]
