"""Networks whose results are known: one that changes nothing, and bicubic interpolation that is not rounded."""

from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet
from sr.image.resize import imresize


class Identity(nn.Module):
    """Returns its input: an image that is upscaled by 1. `BicubicNet` would round to 8 bits."""

    scale, channels, receptive_field = 1, 3, 1

    def forward(self, lr: Tensor) -> Tensor:
        return lr


class Bicubic(nn.Module):
    """Upscales by 2, neither rounded nor clamped."""

    scale, channels, receptive_field = 2, 3, 5

    def forward(self, lr: Tensor) -> Tensor:
        return imresize(lr, 2)


IDENTITY = LoadedNet(Identity().eval(), {"scale": 1, "color": "rgb"}, {}, 0)
BICUBIC = LoadedNet(Bicubic().eval(), {"scale": 2, "color": "rgb"}, {}, 0)
