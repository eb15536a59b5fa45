"""`data/augment=[cutblur]`: part of LR is already sharp, so that a net learns where to sharpen and how much (Yoo, Ahn and
Sohn, "Rethinking Data Augmentation for Image Super-resolution: A Comprehensive Analysis and a New Strategy", 2020,
https://arxiv.org/abs/2004.00448, eq. 1).

The networks of the paper take an input of HR's size: LR is upscaled, and HR's own pixels are pasted into it, or it into HR.
Ours take LR, which has no room for HR's pixels. Well-known forks upscale LR, paste, and downscale the result with a
smoothing bicubic again; they then paste HR downscaled bicubically, that is, if the degradation is bicubic too, exactly the
LR that was there. Here HR is downscaled *without* smoothing: a pasted pixel is the center of its s×s block of HR (the mean
of the central four, if s is even), exactly where the LR pixel is. So the pasted part has the contrast that a degradation
removes, with aliasing, and none of its noise. HR stays as it is.

Difference from the paper: the network never sees more pixels than LR has. The gains that the authors report, for networks
of another input, say nothing certain about this form.
"""

import torch
from torch import Generator, Tensor

from sr.augment.draw import draw_images, draw_rectangles, reshape_for
from sr.image.batch import Pair
from sr.runtime.option_types import Fraction


class CutBlur:
    """LR's pixels become HR's inside of a rectangle of `ratio` times LR's sides, or outside of it.

    Each image is changed with `probability`, at a place of its own, inside or outside with equal probability.
    """

    def __init__(self, probability: Fraction = 0.5, ratio: Fraction = 0.7) -> None:
        self.probability, self.ratio = probability, ratio

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """Return a new pair of the same shapes and dtypes; `pair` is not modified."""
        lr, batch = pair.lr, len(pair.lr)
        changed, outside = draw_images(batch, self.probability, generator), draw_images(batch, 0.5, generator)
        inside = draw_rectangles(lr, self.ratio, generator).mask(lr)
        mask = (inside ^ reshape_for(outside, lr)) & reshape_for(changed, lr)
        return Pair(torch.where(mask, sample_centers(pair.hr, pair.hr.shape[-1] // lr.shape[-1]), lr), pair.hr)


def sample_centers(hr: Tensor, scale: int) -> Tensor:
    """Return the center of each block of s×s pixels, or the mean of its central four: `[B, C, s·h, s·w]` -> `[B, C, h, w]`."""
    first, last = (scale - 1) // 2, scale // 2
    rows = (hr[..., first::scale, :] + hr[..., last::scale, :]) / 2
    return (rows[..., first::scale] + rows[..., last::scale]) / 2
