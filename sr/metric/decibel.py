"""Decibels, equal on every device."""

import math

from torch import Tensor


def to_decibel(ratio: Tensor) -> Tensor:
    """Return 10·log10 of a ratio of powers.

    It is computed from ln: XLA's log10 of float64 multiplies by 1/ln 10 in float32 and is 2·10⁻⁸ off.
    """
    return ratio.log() * (10 / math.log(10))
