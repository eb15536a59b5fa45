"""Self-ensemble over the eight flips and rotations of the input."""

from torch import Tensor

from sr.inference.tile import Upscaler


def apply_self_ensemble(net: Upscaler, lr: Tensor) -> Tensor:
    """The mean over the eight flips and turns of the input (Timofte et al., "Seven ways to improve example-based single
    image super resolution", 2016, section 3.5; EDSR's self-ensemble): names ending in + in the tables."""
    total = None
    for turn in range(8):
        axes = [axis for bit, axis in ((1, -1), (2, -2)) if turn & bit]
        seen = lr.flip(axes) if axes else lr
        sr = net(seen.transpose(-1, -2) if turn & 4 else seen)
        sr = sr.transpose(-1, -2) if turn & 4 else sr
        sr = sr.flip(axes) if axes else sr
        total = sr if total is None else total + sr
    return total / 8
