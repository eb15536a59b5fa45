"""`data/augment=[cutmix]`: a rectangle of another picture is pasted in (Yun et al., "CutMix: Regularization Strategy to
Train Strong Classifiers with Localizable Features", 2019, https://arxiv.org/abs/1905.04899, eq. 1); for images as in Yoo
et al., "Rethinking Data Augmentation for Image Super-resolution", 2020, https://arxiv.org/abs/2004.00448.

The rectangle lies on the grid of LR pixels, in HR it is `scale` times as large: away from its border LR belongs to HR as
before, and within the degradation's reach of the border it belongs to what either picture was there. As Yoo et al., and
unlike Yun et al., its size is a dial and not drawn; it is cut from the place where it is pasted.
"""

import torch
from torch import Generator

from sr.augment.draw import acting, check_share, chosen, partners, rectangles
from sr.image.batch import Pair


class CutMix:
    """A rectangle of `ratio` times the patch's sides comes from another of the batch, at a place drawn for each image.

    Each image is changed with `probability`; a batch of one has no other, and stays as it is.
    """

    def __init__(self, probability: float = 0.5, ratio: float = 0.7) -> None:
        self.probability = check_share("cutmix", "probability", probability)
        self.ratio = check_share("cutmix", "ratio", ratio)

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """A new pair of the same shapes and dtypes; `pair` is left as it is."""
        batch, scale = len(pair.lr), pair.hr.shape[-1] // pair.lr.shape[-1]
        act, other = acting(batch, self.probability, generator), partners(batch, generator)
        place = rectangles(pair.lr, self.ratio, generator)
        mixed = []
        for image, s in ((pair.lr, 1), (pair.hr, scale)):
            mask = place.mask(image, s) & chosen(act, image)
            mixed.append(torch.where(mask, image[other.to(image.device)], image))
        return Pair(*mixed)
