"""`model/loss=[fft]`: L1 between the amplitudes of frequencies: one half of the Fourier loss of Fuoli, Van Gool and Timofte,
"Fourier Space Losses for Efficient Perceptual Image Super-Resolution", 2021, https://arxiv.org/abs/2106.00783.

Differs from the paper: no Hann window, and the orthonormal transform, so that the value does not depend on the patch size.
Phase is ignored: an image shifted cyclically has the same amplitudes, so use this in a sum with a pixel loss.
"""

import torch
from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision


class FFT(nn.Module):
    """The mean of ||F(sr)| − |F(hr)|| over the half plane of frequencies of a real image, for each channel separately."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr_amplitude, hr_amplitude = (torch.fft.rfft2(image, norm="ortho").abs() for image in to_full_precision(sr, hr))
        return (sr_amplitude - hr_amplitude).abs().mean()
