"""The interface of every net, `model/net=…`; the contract tests check it for each conf/model/net/*.yaml."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Net(Protocol):
    """A module that upscales images; it knows nothing of Lightning, Hydra, files or metrics.

    A net is an `nn.Module` whose constructor takes at least `scale` and `channels`. Parameter names and value range
    follow the official code of its paper; a method `from_published(state_dict) -> state_dict` translates the authors'
    weight files where they differ, and `read_options(state_dict) -> dict` returns the size of the net that has these
    weights; a method `to_spandrel() -> state_dict` translates its weights for `exporter=spandrel`. The output is neither
    clamped nor rounded: metrics and image files do that. A net exports with dynamic height and width if its forward pass
    caches nothing in Python that depends on them.
    """

    scale: int
    """The factor s by which it upscales."""

    channels: int
    """The number of channels C of input and output: 3 with color=rgb, 1 with color=y and color=gray, the bands with
    color=bands."""

    receptive_field: int | None
    """The side, in LR pixels, of the square around an LR pixel that can influence its s×s outputs; None if unbounded.

    Tiles overlap by half of it, and then equal the whole image. A net whose grid is stretched to the size of the image
    states `depends_on_size = True`: its tiles are blended, as those of an unbounded net are. `sr.net.receptive_field`
    computes the field from the layers.
    """

    def forward(self, lr: Tensor) -> Tensor:
        """Upscale a batch: float `[B, C, h, w]` in 0…1 -> `[B, C, s·h, s·w]`, for any B, h and w of 1 or more."""
        ...
