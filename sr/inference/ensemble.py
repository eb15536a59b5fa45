"""Self-ensemble over the eight flips and rotations of the input."""

from collections.abc import Iterator

from torch import Tensor

from sr.inference.tile import Upscaler

TRANSFORMS = 8


def apply_self_ensemble(net: Upscaler, lr: Tensor) -> Tensor:
    """Average the net's results over the eight flips and rotations of the input `[B, C, h, w]`.

    Timofte et al., "Seven ways to improve example-based single image super resolution", 2016, section 3.5; EDSR's
    self-ensemble; the names that end in + in the tables. Costs eight forward passes.
    """
    total = None
    for sr in iterate_transformed(net, lr):
        total = sr.clone() if total is None else total.add_(sr)
    return total.div_(TRANSFORMS)


def iterate_transformed(net: Upscaler, lr: Tensor) -> Iterator[Tensor]:
    """Yield the net's results of the eight flips and rotations of the input, turned back; the first is of the input itself."""
    for k in range(TRANSFORMS):
        # Transform the input: bit 0 flips left-right, bit 1 flips up-down, bit 2 transposes.
        axes = [axis for bit, axis in ((1, -1), (2, -2)) if k & bit]
        transformed = lr.flip(axes) if axes else lr
        sr = net(transformed.transpose(-1, -2) if k & 4 else transformed)
        # Undo it on the result.
        sr = sr.transpose(-1, -2) if k & 4 else sr
        yield sr.flip(axes) if axes else sr
