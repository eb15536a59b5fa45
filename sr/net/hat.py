"""HAT (Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", 2023,
https://arxiv.org/abs/2205.04437); the layers are spandrel's (`sr.net.windowed`).

Parameter names and range (RGB, 0…1) follow the official code (XPixelGroup/HAT): its files load as they are.
"""

from collections.abc import Sequence

from sr.net.windowed import Windowed


class HAT(Windowed):
    """The paper's size: 20.6 M parameters at ×2. HAT-S: width=144 compress=24 squeeze=24.

    `depths` and `heads` are the attention layers and their heads in each group; beside each layer channels are weighed,
    by two convolutions `compress` times narrower and an attention `squeeze` times narrower.
    """

    def __init__(
        self,
        scale: int,
        channels: int = 3,
        width: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window: int = 16,
        ratio: float = 2.0,
        compress: int = 3,
        squeeze: int = 30,
    ) -> None:
        super().__init__(
            "HAT", scale, channels, width, depths, heads, window, ratio,
            compress_ratio=compress, squeeze_factor=min(squeeze, width), conv_scale=0.01, overlap_ratio=0.5,
        )  # fmt: skip
        self.receptive_field = None  # the channels' weights are of the whole picture
