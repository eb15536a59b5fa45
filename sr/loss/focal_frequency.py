"""`model/loss=[focal_frequency]`: focal frequency loss (Jiang et al., "Focal Frequency Loss for Image Reconstruction and
Synthesis", ICCV 2021, https://arxiv.org/abs/2012.12821, eq. 8): squared distances of complex frequencies,
weighted by the distance itself.

As in the authors' code: the orthonormal transform; the weights are divided by the largest of each image and channel, and
have no gradient. Its options (patches, batch statistics, logarithm) are off by default there, and do not exist here.
"""

import torch
from torch import Tensor, nn

from sr.loss.full_precision import to_full_precision
from sr.runtime.option_types import NonNegativeFloat


class FocalFrequency(nn.Module):
    """The mean of w · |F(sr) − F(hr)|² over all frequencies, w = |F(sr) − F(hr)|^alpha in 0…1 (eq. 7); alpha 0: plain L2."""

    def __init__(self, alpha: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = to_full_precision(sr, hr)
        error = torch.fft.fft2(sr - hr, norm="ortho")
        square = error.real.square() + error.imag.square()
        weight = square.detach()  # raised to alpha / 2 after the division, so that nothing overflows
        weight = (weight / weight.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)) ** (self.alpha / 2)
        return (weight * square).mean()
