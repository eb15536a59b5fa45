"""PSNR under the usual deviations from the protocol: which of them would explain a number that differs?"""

import math

import torch
from torch import Tensor

from sr.image.color import GRAY_WEIGHTS, rgb_to_luma
from sr.metric.psnr import psnr


def compute_psnr_variants(sr: Tensor, hr: Tensor, border: int) -> dict[str, Tensor]:
    """Return the PSNR of each image under each deviation: float `[B, 3, H, W]` in 0…1 -> description -> `[B]`.

    One-channel images have no variants of color.
    """
    sr = sr.clamp(0, 1)
    x, y = (((image * 255 + 0.5).floor() / 255).double() for image in (sr, hr))
    pairs = {
        "the border is not cut": (_to_luma(x), _to_luma(y)),
        "the result is not rounded to 8 bits": (
            _cut_border(_to_luma(sr.double()), border),
            _cut_border(_to_luma(hr.double()), border),
        ),
    }
    if hr.shape[1] == 3:
        weights = torch.tensor(GRAY_WEIGHTS, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
        pairs |= {
            "full-range luma (JPEG, OpenCV) instead of BT.601's 16…235": (
                _cut_border((x * weights).sum(1, keepdim=True), border),
                _cut_border((y * weights).sum(1, keepdim=True), border),
            ),
            "RGB instead of luma": (_cut_border(x, border), _cut_border(y, border)),
        }
    return {description: psnr(a * 255, b * 255) for description, (a, b) in pairs.items()}


def pool_psnr(values: list[float], pixels: list[int]) -> float:
    """Return the PSNR in dB of all pixels of a set together, from the PSNR and the number of pixels of each image."""
    errors = [n * 10 ** (-value / 10) for value, n in zip(values, pixels, strict=True)]
    return -10 * math.log10(sum(errors) / sum(pixels)) if sum(errors) else math.inf


def _to_luma(image: Tensor) -> Tensor:
    return rgb_to_luma(image) if image.shape[1] == 3 else image


def _cut_border(image: Tensor, border: int) -> Tensor:
    return image[..., border:-border, border:-border]
