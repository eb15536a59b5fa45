"""The layer that discriminators are stacks of: convolution, normalization, leaky ReLU of slope 0.2.

`norm="batch"` is the papers'. Batch normalization lets an image's logit depend on the others in its batch, so penalties on
the gradient for each image (`model/penalty`) need another: `spectral`, on the weights, or `none`.
"""

from torch import nn

from sr.discriminator.spectral import SpectralConv
from sr.runtime.error import UserError, suggest_nearest

NORMS = ("batch", "spectral", "none")


def conv_layer(c_in: int, c_out: int, kernel: int, stride: int, norm: str) -> list[nn.Module]:
    """Return the modules of one layer, padded by 1. With batch normalization the convolution has no bias of its own."""
    if norm not in NORMS:
        raise UserError(
            f"model.discriminator.norm={norm}: expected one of {', '.join(NORMS)}.{suggest_nearest(str(norm), NORMS)}"
        )
    if norm == "batch":
        body = [nn.Conv2d(c_in, c_out, kernel, stride, padding=1, bias=False), nn.BatchNorm2d(c_out)]
    elif norm == "spectral":
        body = [SpectralConv(c_in, c_out, kernel, stride, padding=1, bias=True)]
    else:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=1)
        nn.init.kaiming_normal_(conv.weight, a=0.2)  # with PyTorch's default the signal vanishes in seven such layers
        nn.init.zeros_(conv.bias)
        body = [conv]
    return [*body, nn.LeakyReLU(0.2, inplace=True)]
