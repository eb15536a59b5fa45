"""SwinIR (Liang et al., "SwinIR: Image Restoration Using Swin Transformer", 2021, https://arxiv.org/abs/2108.10257), its
classical and its lightweight form; the layers are spandrel's (`sr.net.windowed`).

Parameter names and range (RGB, 0…1) follow the official code (JingyunLiang/SwinIR): its files load as they are.
"""

from collections.abc import Sequence

from sr.net.edsr import list_upsampling_factors
from sr.net.receptive_field import compute_receptive_field
from sr.net.windowed import Windowed
from sr.runtime.option_types import PositiveFloat, PositiveInt


class SwinIR(Windowed):
    """The lightweight form by default: 910,152 parameters at ×2; 878 K as the paper counts, without position biases.

    `depths` and `heads` are the numbers of attention layers and of their heads in each residual block. `direct` selects
    the lightweight upsampler, one convolution and a pixel shuffle; the classical one is 64 wide and ends in a
    convolution at HR size.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 60,
        depths: Sequence[PositiveInt] = (6, 6, 6, 6),
        heads: Sequence[PositiveInt] = (6, 6, 6, 6),
        window: PositiveInt = 8,
        ratio: PositiveFloat = 2.0,
        direct: bool = True,
    ) -> None:
        upsampler = "pixelshuffledirect" if direct else "pixelshuffle"
        super().__init__("SwinIR", scale, channels, width, depths, heads, window, ratio, upsampler=upsampler)
        field_of_upsampler = (
            compute_receptive_field(2)
            if direct
            else compute_receptive_field(3, *((s, 1) for s in list_upsampling_factors(scale)))
        )
        self.receptive_field = 2 * (1 + _compute_reach_of_body(depths, window, field_of_upsampler // 2)) + 1


def _compute_reach_of_body(depths: Sequence[int], window: int, reach: int) -> int:
    """Return how many pixels to each side the body sees, for an upsampler that sees `reach` pixels of its output.

    A layer sees whole windows, in every second layer windows shifted by half; a block ends in a 3×3 convolution. The
    result is that of the pixel of a window that sees farthest.
    """
    farthest = 0
    for pixel in range(window):
        first, last = pixel - reach, pixel + reach
        for depth in reversed(depths):
            first, last = first - 1, last + 1
            for layer in reversed(range(depth)):
                shift = layer % 2 * (window // 2)
                first = (first - shift) // window * window + shift
                last = (last - shift) // window * window + shift + window - 1
        farthest = max(farthest, pixel - first, last - pixel)
    return farthest
