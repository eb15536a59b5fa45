"""Peak signal-to-noise ratio, one value for each image."""

import torch
from torch import Tensor

from sr.metric.decibel import to_decibel
from sr.runtime.parallel import use_one_thread


def psnr(sr: Tensor, hr: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the PSNR of each image in dB, peak 255: two `[B, C, H, W]` in levels 0…255 -> float64 `[B]`.

    Levels of 16 bits come in steps of 1/257: the value is that of a peak of 65535. Equal images give infinity. The PSNR of
    a set is the mean of these values; an error pooled over all its images would be another number. `valid` `[B, 1, H, W]`:
    the pixels that count; an image without any has nan.
    """
    with use_one_thread(sr.device):
        squares = (sr.double() - hr.double()).square_()
        if valid is None:
            error = squares.mean(dim=(1, 2, 3))
        else:
            error = torch.where(valid, squares, 0).mean(dim=1).sum(dim=(1, 2)) / valid.sum(dim=(1, 2, 3))
    return to_decibel(255**2 / error)
