"""HAT (Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", 2023,
https://arxiv.org/abs/2205.04437); the layers are spandrel's (`sr.net.windowed`).

Parameter names and range (RGB, 0…1) follow the official code (XPixelGroup/HAT): its files load as they are.
"""

from collections.abc import Sequence

from sr.net.windowed import Windowed
from sr.runtime.option_types import PositiveFloat, PositiveInt


class HAT(Windowed):
    """The paper's size: 20.6 M parameters at ×2. HAT-S: width=144 compress_ratio=24 squeeze_factor=24.

    `depths` and `heads` are the numbers of attention layers and of their heads in each group. Parallel to each layer a
    channel attention block runs: two convolutions that are `compress_ratio` times narrower, and an attention whose
    bottleneck is `squeeze_factor` times narrower.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: PositiveInt = 180,
        depths: Sequence[PositiveInt] = (6, 6, 6, 6, 6, 6),
        heads: Sequence[PositiveInt] = (6, 6, 6, 6, 6, 6),
        window: PositiveInt = 16,
        ratio: PositiveFloat = 2.0,
        compress_ratio: PositiveInt = 3,
        squeeze_factor: PositiveInt = 30,
    ) -> None:
        super().__init__(
            "HAT", scale, channels, width, depths, heads, window, ratio,
            compress_ratio=compress_ratio, squeeze_factor=min(squeeze_factor, width), conv_scale=0.01,
            overlap_ratio=0.5,
        )  # fmt: skip
        self.receptive_field = None  # unbounded: the channel attention pools over the whole image
