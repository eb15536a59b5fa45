"""`metric/also=[spectrum]`: is there as much detail as there should be, wherever exactly it lies? Needs no weights.

The log-spectral distance of speech (Gray and Markel, "Distance measures for speech processing", 1976,
https://doi.org/10.1109/TASSP.1976.1162849), on Welch's local spectra of the luma (Welch, "The use of fast Fourier
transform for the estimation of power spectra", 1967, https://doi.org/10.1109/TAU.1967.1161901). That generators give
themselves away in their spectra was seen by Durall et al., "Watch your Up-Convolution", 2020,
https://arxiv.org/abs/2003.01826; they average over orientations and the whole picture, here both are kept.

What it sees: missing detail and periodic artefacts, wherever there is any. What it forgives: detail of the right
strength, size and direction that lies elsewhere, for which PSNR punishes more than for none. What it cannot see: a
shift, a change of brightness, or whether the detail makes sense. It is no substitute for eyes.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.batch import MetricInput
from sr.image.color import rgb_to_luma
from sr.metric.decibel import decibel
from sr.runtime.error import UserError

BLOCK, STEP = 16, 8  # pixels: Hann windows that overlap by half
AROUND = 5  # 5×5 blocks, 48 pixels a side, make one spectrum: one alone is off by ±5.6 dB (1 σ), 25 that overlap by ±1
FLOOR = 1.0  # squared levels: the power of noise of one level, below which a difference is not seen


def spectra(image: Tensor) -> Tensor:
    """Local power spectra in dB of 8-bit levels: `[B, 1, H, W]`, H and W >= 16 -> float64 `[B, 16·9-1, N]`, N places.

    White noise of σ levels has 10·log10(σ² + 1) dB at every frequency, but a little less at the lowest, which the mean
    takes with it. Rows and columns at the right and bottom that do not fill a step of 8 are left out.
    """
    h, w = image.shape[-2:]
    if min(h, w) < BLOCK:
        raise UserError(f"spectrum needs at least {BLOCK}×{BLOCK} pixels, got {h}×{w}")
    hann = torch.hann_window(BLOCK, dtype=torch.float64, device=image.device)
    window = hann[:, None] * hann
    blocks = image[:, 0].double().unfold(-2, BLOCK, STEP).unfold(-2, BLOCK, STEP)  # [B, rows, columns, 16, 16]
    mean = (blocks * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
    wave = torch.fft.rfft2((blocks - mean) * window)  # [B, rows, columns, 16, 9]
    power = wave.real.square() + wave.imag.square()
    power = power.flatten(3).movedim(3, 1)[:, 1:] / window.square().sum()  # without the constant, which is the mean
    rows, columns = power.shape[-2:]
    power = F.avg_pool2d(power, (min(rows, AROUND), min(columns, AROUND)), stride=1)
    return decibel(power.flatten(2) + FLOOR)


def spectrum(sr: Tensor, hr: Tensor) -> Tensor:
    """Log-spectral distance in dB of each image: two lumas `[B, 1, H, W]` in 8-bit levels -> float64 `[B]`; 0 for equal.

    At each place the RMS over frequencies, then the mean over places, as in speech.
    """
    pairs = zip(sr.split(1), hr.split(1), strict=True)  # one by one: windows that overlap take four times the memory
    return torch.cat([(spectra(x) - spectra(y)).square().mean(dim=1).sqrt().mean(dim=1) for x, y in pairs])


class Spectrum:
    """Log-spectral distance of the whole 8-bit picture's luma. A picture below 16×16 has none: nan."""

    unit = "dB"
    better: Literal["higher", "lower"] = "lower"

    def __call__(self, seen: MetricInput) -> Tensor:
        """`[B]` in dB, 0 or more, or nan."""
        if min(seen.sr.shape[-2:]) < BLOCK:
            return torch.full((len(seen.sr),), torch.nan, dtype=torch.float64, device=seen.sr.device)
        return spectrum(
            *((rgb_to_luma(i.double()) if i.shape[1] == 3 else i.double()) * 255 for i in (seen.sr, seen.hr))
        )
