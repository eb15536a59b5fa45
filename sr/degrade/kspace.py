"""`data/degrade=kspace`: the LR of MR, made by cutting off the outer part of k-space, as a shorter scan would not measure it.

Chen et al., "Brain MRI super resolution using deep 3D densely connected neural networks", 2018,
https://arxiv.org/abs/1801.02728, section 3.1, shrinks images so: Fourier transform, center cut out, transformed back. What
differs: the result lies on the grid of this package (an LR pixel has the center of the HR pixels that it covers), which a
phase ramp does, and the highest frequency of an even number of pixels comes with its negative, so that the result is real.

The magnitude is returned, as scanners show it: undershoot around edges next to black becomes positive. The k-space of a
magnitude image is not that which a scanner measured: phase, noise of both channels and coil sensitivities are lost.
"""

from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from sr.image.kspace import Window, resize_kspace
from sr.image.levels import WHITE, round_to_levels, to_unit
from sr.runtime.error import UserError


class KSpace(nn.Module):
    """uint8 or uint16 HR `[B, C, s·h, s·w]` -> LR `[B, C, h, w]` of this type, rounded; of float unrounded.

    `window` weights k-space: with `none` edges ring (Gibbs); `hann` and `hamming` ring less, and
    blur. The mean of an image stays as it is.
    """

    fixed: ClassVar[bool] = True  # nothing is random: the LR of a training image is computed once

    def __init__(self, scale: int, window: Window = "none") -> None:
        super().__init__()
        if window not in get_args(Window):
            raise UserError(f"data.degrade.window={window}: expected one of {', '.join(get_args(Window))}")
        self.scale, self.window = scale, window

    def extra_repr(self) -> str:
        return f"scale={self.scale}, window={self.window}"

    def forward(self, hr: Tensor) -> Tensor:
        size = tuple(n // self.scale for n in hr.shape[-2:])
        is_levels = hr.dtype in WHITE
        image = to_unit(hr, torch.float64) if is_levels else hr
        lr = resize_kspace(image, size, self.window).abs()
        return round_to_levels(lr, hr.dtype) if is_levels else lr
