"""`data/augment=[mixup]`: each image is blended with another one (Zhang et al., "mixup: Beyond Empirical Risk Minimization",
2018, https://arxiv.org/abs/1710.09412, eq. 1); as in Yoo et al., "Rethinking Data Augmentation for Image
Super-resolution", 2020, https://arxiv.org/abs/2004.00448, LR and HR are blended with the same weight.

A linear degradation of the blended HR is the blended LR, except for its rounding to 8 bits; for other degradations this is
only approximately so.
"""

import numpy as np
import torch
from torch import Generator

from sr.augment.draw import draw_images, draw_partners, reshape_for
from sr.image.batch import Pair
from sr.runtime.option_types import Fraction, PositiveFloat


class MixUp:
    """`λ · image + (1 − λ) · another image of the batch`, with λ from Beta(alpha, alpha) for each image.

    Each image is changed with `probability`; in a batch of one there is no other image, and it stays as it is.
    """

    def __init__(self, probability: Fraction = 0.5, alpha: PositiveFloat = 1.2) -> None:
        self.probability, self.alpha = probability, alpha

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """Return a new pair of the same shapes and dtypes; `pair` is not modified."""
        batch = len(pair.lr)
        changed, partners = draw_images(batch, self.probability, generator), draw_partners(batch, generator)
        seed = int(torch.randint(2**63 - 1, (1,), generator=generator))  # torch samples Beta without a generator
        own_weight = torch.from_numpy(np.random.default_rng(seed).beta(self.alpha, self.alpha, batch))
        weight = torch.where(changed, 1 - own_weight, 0.0)
        return Pair(
            *(
                image.lerp(image[partners.to(image.device)], reshape_for(weight.to(image.dtype), image))
                for image in pair
            )
        )
