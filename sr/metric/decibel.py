"""Decibels, the same ones on every device."""

import math

from torch import Tensor


def decibel(ratio: Tensor) -> Tensor:
    """10·log10 of a ratio of powers. By way of ln: XLA's log10 of float64 is 2·10⁻⁸ off, with a float32 1/ln 10."""
    return ratio.log() * (10 / math.log(10))
