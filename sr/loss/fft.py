"""`model/loss=[fft]`: L1 between amplitudes of frequencies: the amplitude half of the Fourier loss of Fuoli, Van Gool and
Timofte, "Fourier Space Losses for Efficient Perceptual Image Super-Resolution", 2021, https://arxiv.org/abs/2106.00783.

Unlike the paper: no Hann window, and the orthonormal transform, so that its size does not depend on the patch. Phase is
not looked at: a picture moved round its border has the same amplitudes, so this belongs beside a loss of pixels.
"""

import torch
from torch import Tensor, nn

from sr.loss.full_precision import full


class FFT(nn.Module):
    """Mean of ||F(sr)| − |F(hr)|| over the half plane of frequencies that a real picture has, each channel for itself."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        ours, theirs = (torch.fft.rfft2(image, norm="ortho").abs() for image in full(sr, hr))
        return (ours - theirs).abs().mean()
