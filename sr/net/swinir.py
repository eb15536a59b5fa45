"""SwinIR (Liang et al., "SwinIR: Image Restoration Using Swin Transformer", 2021, https://arxiv.org/abs/2108.10257), its
classical and its lightweight form; the layers are spandrel's (`sr.net.windowed`).

Parameter names and range (RGB, 0…1) follow the official code (JingyunLiang/SwinIR): its files load as they are.
"""

from collections.abc import Sequence

from sr.net.edsr import factors
from sr.net.receptive_field import field
from sr.net.windowed import Windowed


class SwinIR(Windowed):
    """The lightweight one by default: 910,152 parameters at ×2; as the paper counts, without the position biases, 878 K.

    `depths` and `heads` are the attention layers and their heads in each residual block. `direct` is the lightweight
    upsampler, one convolution and a pixel shuffle; the classical one is 64 wide and ends in a convolution at HR's size.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: int = 60,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: Sequence[int] = (6, 6, 6, 6),
        window: int = 8,
        ratio: float = 2.0,
        direct: bool = True,
    ) -> None:
        upsampler = "pixelshuffledirect" if direct else "pixelshuffle"
        super().__init__("SwinIR", scale, channels, width, depths, heads, window, ratio, upsampler=upsampler)
        after = field(2) if direct else field(3, *((s, 1) for s in factors(scale)))  # from the body to the output
        self.receptive_field = 2 * (1 + _seen(depths, window, after // 2)) + 1


def _seen(depths: Sequence[int], window: int, far: int) -> int:
    """How far the body looks for outputs that look `far` pixels into it, from the pixel of a window that looks farthest.

    A layer sees whole windows, every second one those that are shifted by half; a block ends in a 3×3 convolution.
    """
    farthest = 0
    for pixel in range(window):
        first, last = pixel - far, pixel + far
        for depth in reversed(depths):
            first, last = first - 1, last + 1
            for layer in reversed(range(depth)):
                shift = layer % 2 * (window // 2)
                first = (first - shift) // window * window + shift
                last = (last - shift) // window * window + shift + window - 1
        farthest = max(farthest, pixel - first, last - pixel)
    return farthest
