"""The usual mistakes of measuring, each as a PSNR of its own: which of them would explain a number that differs?"""

import math

import torch
from torch import Tensor

from sr.image.color import GRAY, rgb_to_luma
from sr.metric.psnr import psnr


def alternatives(sr: Tensor, hr: Tensor, border: int) -> dict[str, Tensor]:
    """PSNR of each image under each mistake: float 0…1 `[B, 3, H, W]` -> cause -> `[B]`; without colour, fewer."""
    sr = sr.clamp(0, 1)
    x, y = (((image * 255 + 0.5).floor() / 255).double() for image in (sr, hr))
    shown = {
        "the border is not cut": (_luma(x), _luma(y)),
        "the result is not rounded to 8 bits": (_cut(_luma(sr.double()), border), _cut(_luma(hr.double()), border)),
    }
    if hr.shape[1] == 3:
        full = torch.tensor(GRAY, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
        shown |= {
            "full-range luma (JPEG, OpenCV) instead of BT.601's 16…235": (
                _cut((x * full).sum(1, keepdim=True), border),
                _cut((y * full).sum(1, keepdim=True), border),
            ),
            "RGB instead of luma": (_cut(x, border), _cut(y, border)),
        }
    return {cause: psnr(a * 255, b * 255) for cause, (a, b) in shown.items()}


def pooled(psnrs: list[float], pixels: list[int]) -> float:
    """PSNR of all pixels of a set together, from each image's PSNR in dB and number of pixels."""
    errors = [n * 10 ** (-value / 10) for value, n in zip(psnrs, pixels, strict=True)]
    return -10 * math.log10(sum(errors) / sum(pixels)) if sum(errors) else math.inf


def _luma(image: Tensor) -> Tensor:
    return rgb_to_luma(image) if image.shape[1] == 3 else image


def _cut(image: Tensor, border: int) -> Tensor:
    return image[..., border:-border, border:-border]
