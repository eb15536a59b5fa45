"""`data/augment=[cutblur]`: part of the input is already sharp, so that a net learns where to sharpen and how much (Yoo,
Ahn and Sohn, "Rethinking Data Augmentation for Image Super-resolution: A Comprehensive Analysis and a New Strategy",
2020, https://arxiv.org/abs/2004.00448, eq. 1).

The paper's nets take an input of HR's size: LR is enlarged, and HR's own pixels are pasted into it, or it into HR. Our
nets take LR, which has no room for HR's pixels. Well-known forks enlarge LR, paste, and shrink the result with a
smoothing bicubic again; what they paste then is HR bicubically shrunk, that is, where that is also the degradation, the
very LR that was there. Here HR is shrunk *without* smoothing: a pasted pixel is the middle of its s×s block of HR (the
mean of the middle four, if s is even), which lies just where the LR pixel does. So what is pasted keeps the contrast
that a degradation takes away, aliased, and carries none of its noise. HR stays as it is.

What is lost of the paper: the net never sees more than LR's count of pixels, and the authors' gains, on nets of another
input, say nothing certain about this form.
"""

import torch
from torch import Generator, Tensor

from sr.augment.draw import acting, check_share, chosen, rectangles
from sr.image.batch import Pair


class CutBlur:
    """Within a rectangle of `ratio` times LR's sides, or everywhere but there, LR's pixels become HR's.

    Each image is changed with `probability`, at a place of its own, inside or outside by the toss of a coin.
    """

    def __init__(self, probability: float = 0.5, ratio: float = 0.7) -> None:
        self.probability = check_share("cutblur", "probability", probability)
        self.ratio = check_share("cutblur", "ratio", ratio)

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """A new pair of the same shapes and dtypes; `pair` is left as it is."""
        lr, batch = pair.lr, len(pair.lr)
        act, outside = acting(batch, self.probability, generator), acting(batch, 0.5, generator)
        place = rectangles(lr, self.ratio, generator)
        mask = (place.mask(lr) ^ chosen(outside, lr)) & chosen(act, lr)
        return Pair(torch.where(mask, middles(pair.hr, pair.hr.shape[-1] // lr.shape[-1]), lr), pair.hr)


def middles(hr: Tensor, scale: int) -> Tensor:
    """The middle of each block of s×s pixels, or the mean of its middle four: `[B, C, s·h, s·w]` -> `[B, C, h, w]`."""
    first, last = (scale - 1) // 2, scale // 2
    rows = (hr[..., first::scale, :] + hr[..., last::scale, :]) / 2
    return (rows[..., first::scale] + rows[..., last::scale]) / 2
