"""Peak signal-to-noise ratio, of each image alone."""

from torch import Tensor

from sr.metric.decibel import decibel
from sr.runtime.parallel import use_one_thread


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """PSNR in dB of each image, peak 255: two `[B, C, H, W]` in 8-bit levels -> float64 `[B]`.

    Infinite for equal images. The mean belongs over these values: one error pooled from all images is another number.
    """
    with use_one_thread(sr.device):
        error = (sr.double() - hr.double()).square_().mean(dim=(1, 2, 3))
    return decibel(255**2 / error)
