"""Peak signal-to-noise ratio, one value for each image."""

from torch import Tensor

from sr.metric.decibel import to_decibel
from sr.runtime.parallel import use_one_thread


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the PSNR of each image in dB, peak 255: two `[B, C, H, W]` in levels 0…255 -> float64 `[B]`.

    Levels of 16 bits come in steps of 1/257: the value is that of a peak of 65535. Equal images give infinity. The PSNR of
    a set is the mean of these values; an error pooled over all its images would be another number.
    """
    with use_one_thread(sr.device):
        error = (sr.double() - hr.double()).square_().mean(dim=(1, 2, 3))
    return to_decibel(255**2 / error)
