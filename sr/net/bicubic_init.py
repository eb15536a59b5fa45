"""Initial weights that let an image through: a net without a skip connection then starts at the bicubic guess instead of
spending its first hours on learning to copy (measured in experiments/fsrcnn_x2).
"""

import torch
from torch import Tensor, nn

from sr.image.resize import imresize
from sr.runtime.error import UserError


def begins_as_bicubic(start: str) -> bool:
    """What `model.net.start` asks for: the paper's initial weights, or these."""
    if start not in ("paper", "bicubic"):
        raise UserError(f"model.net.start={start}: expected paper or bicubic")
    return start == "bicubic"


@torch.no_grad()
def carry(conv: nn.Conv2d, channels: int, first: bool = False) -> None:
    """Features 0 … `channels` - 1 become those of the layer before, untouched, and no other feature looks at them.

    In the `first` layer the others do look at the image, through filters of zero mean.
    """
    if first:
        conv.weight -= conv.weight.mean(dim=(1, 2, 3), keepdim=True)
    else:
        conv.weight[:, :channels] = 0
    conv.weight[:channels] = 0
    middle = conv.kernel_size[0] // 2
    for c in range(channels):
        conv.weight[c, c, middle, middle] = 1


def enlarging(size: int, scale: int) -> Tensor:
    """The kernel `[size, size]` with which a transposed convolution of stride `scale` and padding `size // 2` enlarges
    bicubically; where MATLAB's is larger, it is cut, and each phase sums to one again."""
    reach = size // scale + 2
    point = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    point[reach, reach] = 1
    top = scale * reach - size // 2
    kernel = imresize(point[None], scale)[0, top : top + size, top : top + size].clone()
    for phase in range(scale**2):
        part = kernel[phase // scale :: scale, phase % scale :: scale]
        part /= part.sum()
    return kernel.float()
