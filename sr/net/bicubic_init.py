"""Initial weights with which a net without a skip connection starts as bicubic upscaling.

With a paper's random weights such a net spends its first hours on learning to copy its input; how much is saved was
measured in experiments/fsrcnn_x2.
"""

import torch
from torch import Tensor, nn

from sr.image.resize import imresize
from sr.runtime.error import UserError


def is_bicubic_initialization(name: str) -> bool:
    """Return True if `model.net.initialization` is `bicubic`, False if it is `paper`."""
    if name not in ("paper", "bicubic"):
        raise UserError(f"model.net.initialization={name}: expected paper or bicubic")
    return name == "bicubic"


@torch.no_grad()
def initialize_as_identity(conv: nn.Conv2d, channels: int, is_first: bool = False) -> None:
    """Let features 0 … `channels` - 1 copy those of the layer before; the other features do not use these.

    In the first layer the other features do use the image, through filters of zero mean.
    """
    if is_first:
        conv.weight -= conv.weight.mean(dim=(1, 2, 3), keepdim=True)
    else:
        conv.weight[:, :channels] = 0
    conv.weight[:channels] = 0
    middle = conv.kernel_size[0] // 2
    for c in range(channels):
        conv.weight[c, c, middle, middle] = 1


def make_bicubic_kernel(size: int, scale: int) -> Tensor:
    """Return the kernel `[size, size]` of a transposed convolution that upscales bicubically.

    The convolution has stride `scale` and padding `size // 2`. Where MATLAB's kernel is larger than `size` it is cut,
    and each of its `scale`² phases is normalized to a sum of one.
    """
    reach = size // scale + 2
    impulse = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    impulse[reach, reach] = 1
    top = scale * reach - size // 2
    kernel = imresize(impulse[None], scale)[0, top : top + size, top : top + size].clone()
    for phase in range(scale**2):
        part = kernel[phase // scale :: scale, phase % scale :: scale]
        part /= part.sum()
    return kernel.float()
