"""Compare a network of another runtime with PyTorch's, on images of several sizes and batches."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sr.runtime.error import UserError

SIDES = ((37, 53), (64, 64), (8, 9), (90, 17), (131, 45))  # heights and widths of LR: wide, square, small, tall
BATCHES = (1, 2, 3)  # numbers of images
TOLERANCE = 1e-4  # the largest difference that is an error of rounding, in 0…1


class Agreement(NamedTuple):
    """The differences between a network of another runtime and PyTorch's."""

    # The largest, relative to the output's largest value if that is above 1; infinite: a wrong size, or NaN.
    difference: float
    psnr: float  # of all outputs, in dB, with PyTorch's as the reference; infinite if they are equal
    worst: str  # the input with the largest difference
    inputs: int


@torch.no_grad()
def compare_nets(
    reference: nn.Module,
    other: nn.Module,
    channels: int,
    sides: Sequence[tuple[int, int]] = SIDES,
    batches: Sequence[int] = BATCHES,
    is_uint8: bool = False,
) -> Agreement:
    """Compare two nets on the CPU, with noise as input, uniform in 0…1.

    `is_uint8`: the other one rounds its output to 8 bits.
    """
    random = torch.Generator().manual_seed(0)
    difference, squares, count, worst = 0.0, 0.0, 0, ""
    for h, w in sides:
        for b in batches:
            lr = torch.randint(0, 256, (b, channels, h, w), generator=random) / 255
            expected, found = reference(lr), _run(other, lr)
            if is_uint8:
                expected = (expected.clamp(0, 1) * 255 + 0.5).floor() / 255
            has_size = found is not None and found.shape == expected.shape
            error = (found.double() - expected.double()).abs() if has_size else None
            if error is None or not error.isfinite().all():
                return Agreement(math.inf, 0.0, f"{b} images of {w}×{h}", count)
            # Of noise, some nets make values of 5 and more. The rounding of float32 grows with them.
            largest = float(error.max()) / max(1.0, float(expected.abs().max()))
            if largest >= difference:
                difference, worst = largest, f"{b} images of {w}×{h}"
            squares += float(error.square().mean())
            count += 1
    psnr = math.inf if squares == 0 else -10 * math.log10(squares / count)
    return Agreement(difference, psnr, worst, count)


def _run(net: nn.Module, lr: Tensor) -> Tensor | None:
    """Return the output; None if the file fails for this input."""
    try:
        return net(lr)
    except (UserError, RuntimeError):
        return None
