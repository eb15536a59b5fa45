"""Self-ensemble over the eight flips and rotations of the input."""

from torch import Tensor

from sr.inference.tile import Upscaler


def apply_self_ensemble(net: Upscaler, lr: Tensor) -> Tensor:
    """Average the net's results over the eight flips and rotations of the input `[B, C, h, w]`.

    Timofte et al., "Seven ways to improve example-based single image super resolution", 2016, section 3.5; EDSR's
    self-ensemble; the names that end in + in the tables. Costs eight forward passes.
    """
    total = None
    for k in range(8):
        # Transform the input: bit 0 flips left-right, bit 1 flips up-down, bit 2 transposes.
        axes = [axis for bit, axis in ((1, -1), (2, -2)) if k & bit]
        transformed = lr.flip(axes) if axes else lr
        sr = net(transformed.transpose(-1, -2) if k & 4 else transformed)
        # Undo it on the result.
        sr = sr.transpose(-1, -2) if k & 4 else sr
        sr = sr.flip(axes) if axes else sr
        total = sr.clone() if total is None else total.add_(sr)
    return total.div_(8)
