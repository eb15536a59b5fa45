"""`data/augment=[cutmix]`: a rectangle of another image is pasted (Yun et al., "CutMix: Regularization Strategy to Train
Strong Classifiers with Localizable Features", 2019, https://arxiv.org/abs/1905.04899, eq. 1); for super-resolution as in
Yoo et al., "Rethinking Data Augmentation for Image Super-resolution", 2020, https://arxiv.org/abs/2004.00448.

The rectangle lies on the grid of LR pixels; in HR it is `scale` times as large. Away from its border LR matches HR as
before; near the border, within the reach of the degradation, LR matches the images as they were before. As in Yoo et al.,
and unlike Yun et al., the size is an option and not random; the rectangle is cut from the place where it is pasted.
"""

import torch
from torch import Generator

from sr.augment.draw import draw_images, draw_partners, draw_rectangles, reshape_for
from sr.image.batch import Pair
from sr.runtime.option_types import Fraction


class CutMix:
    """A rectangle of `ratio` times the patch's sides comes from another image of the batch, at a random place.

    Each image is changed with `probability`; in a batch of one there is no other image, and it stays as it is.
    """

    def __init__(self, probability: Fraction = 0.5, ratio: Fraction = 0.7) -> None:
        self.probability, self.ratio = probability, ratio

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """Return a new pair of the same shapes and dtypes; `pair` is not modified."""
        batch, scale = len(pair.lr), pair.hr.shape[-1] // pair.lr.shape[-1]
        changed, partners = draw_images(batch, self.probability, generator), draw_partners(batch, generator)
        rectangles = draw_rectangles(pair.lr, self.ratio, generator)
        mixed = []
        for image, s in ((pair.lr, 1), (pair.hr, scale)):
            mask = rectangles.mask(image, s) & reshape_for(changed, image)
            mixed.append(torch.where(mask, image[partners.to(image.device)], image))
        return Pair(*mixed)
