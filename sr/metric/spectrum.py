"""`metric/also=[spectrum]`: is there as much detail as there should be, wherever exactly it is? Needs no weights.

The log-spectral distance of speech (Gray and Markel, "Distance measures for speech processing", 1976,
https://doi.org/10.1109/TASSP.1976.1162849), on Welch's local spectra of the luma (Welch, "The use of fast Fourier
transform for the estimation of power spectra", 1967, https://doi.org/10.1109/TAU.1967.1161901). Durall et al., "Watch
your Up-Convolution", 2020, https://arxiv.org/abs/2003.01826, found that generators are recognizable by their spectra;
they average over orientations and the whole image, while this metric preserves both.

It detects missing detail and periodic artifacts, wherever they are. It accepts detail of the right strength, size and
direction in another place, for which PSNR is lower than for no detail at all. It does not detect a shift, a change of
brightness, or whether the detail makes sense. It does not replace looking at the images.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.metric.decibel import to_decibel
from sr.metric.metric import Metric
from sr.runtime.error import UserError

BLOCK_SIZE, BLOCK_STRIDE = 16, 8  # pixels: Hann windows that overlap by half
BLOCKS_PER_SPECTRUM = (
    5  # a side: 5×5 blocks, 48×48 pixels. One block alone is off by ±5.6 dB (1 σ), 25 that overlap by ±1 dB
)
NOISE_POWER = 1.0  # squared levels: noise of one level, below which a difference is not visible


def compute_spectra(image: Tensor) -> Tensor:
    """Return local power spectra in dB: 8-bit levels `[B, 1, H, W]`, H and W >= 16 -> float64 `[B, 16·9-1, N]`, N places.

    White noise of σ levels has 10·log10(σ² + 1) dB at every frequency, and a little less at the lowest ones, because the
    mean is subtracted. Rows and columns at the bottom and the right that do not fill a stride of 8 are left out.
    """
    h, w = image.shape[-2:]
    if min(h, w) < BLOCK_SIZE:
        raise UserError(f"spectrum needs at least {BLOCK_SIZE}×{BLOCK_SIZE} pixels, got {h}×{w}")
    hann = torch.hann_window(BLOCK_SIZE, dtype=torch.float64, device=image.device)
    window = hann[:, None] * hann
    blocks = (
        image[:, 0].double().unfold(-2, BLOCK_SIZE, BLOCK_STRIDE).unfold(-2, BLOCK_SIZE, BLOCK_STRIDE)
    )  # [B, rows, columns, 16, 16]
    mean = (blocks * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
    wave = torch.fft.rfft2((blocks - mean) * window)  # [B, rows, columns, 16, 9]
    power = wave.real.square() + wave.imag.square()
    power = power.flatten(3).movedim(3, 1)[:, 1:] / window.square().sum()  # without frequency 0, the mean
    rows, columns = power.shape[-2:]
    power = F.avg_pool2d(power, (min(rows, BLOCKS_PER_SPECTRUM), min(columns, BLOCKS_PER_SPECTRUM)), stride=1)
    return to_decibel(power.flatten(2) + NOISE_POWER)


def spectrum(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the log-spectral distance of each image in dB: two lumas `[B, 1, H, W]` in 8-bit levels -> float64 `[B]`.

    It is the RMS over frequencies at each place, then the mean over places, as in speech; 0 for equal images.
    """
    pairs = zip(sr.split(1), hr.split(1), strict=True)  # one by one: overlapping windows take four times the memory
    return torch.cat(
        [(compute_spectra(x) - compute_spectra(y)).square().mean(dim=1).sqrt().mean(dim=1) for x, y in pairs]
    )


class Spectrum(Metric):
    """Log-spectral distance of the luma of the whole 8-bit image. An image below 16×16 has no value: nan."""

    unit = "dB"
    perceptual_rank = 2
    better: Literal["higher", "lower"] = "lower"

    def __call__(self, images: MetricInput) -> Tensor:
        """Return `[B]` in dB, 0 or more, or nan."""
        if min(images.sr.shape[-2:]) < BLOCK_SIZE:
            return torch.full((len(images.sr),), torch.nan, dtype=torch.float64, device=images.sr.device)
        sr, hr = (
            (rgb_to_luma(image.double()) if image.shape[1] == 3 else image.double()) * 255
            for image in (images.sr, images.hr)
        )
        return spectrum(sr, hr)
