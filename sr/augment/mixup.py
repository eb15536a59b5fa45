"""`data/augment=[mixup]`: each picture shines through another (Zhang et al., "mixup: Beyond Empirical Risk Minimization",
2018, https://arxiv.org/abs/1710.09412, eq. 1); for images as in Yoo et al., "Rethinking Data Augmentation for Image
Super-resolution", 2020, https://arxiv.org/abs/2004.00448, LR and HR are mixed by the same share.

A linear degradation of the mixed HR is the mixed LR, but for its rounding to 8 bits; another one is not quite.
"""

import numpy as np
import torch
from torch import Generator

from sr.augment.draw import acting, check_share, chosen, partners
from sr.image.batch import Pair
from sr.runtime.error import UserError


class MixUp:
    """`λ · image + (1 − λ) · another of the batch`, λ of Beta(alpha, alpha) for each image.

    Each image is mixed with `probability`; a batch of one has nothing to be mixed with, and stays as it is.
    """

    def __init__(self, probability: float = 0.5, alpha: float = 1.2) -> None:
        self.probability = check_share("mixup", "probability", probability)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or alpha <= 0:
            raise UserError(f"data.augment.mixup.alpha={alpha}: expected a number above 0")
        self.alpha = alpha

    def __call__(self, pair: Pair, generator: Generator) -> Pair:
        """A new pair of the same shapes and dtypes; `pair` is left as it is."""
        batch = len(pair.lr)
        act, other = acting(batch, self.probability, generator), partners(batch, generator)
        seed = int(torch.randint(2**63 - 1, (1,), generator=generator))  # torch draws no Beta from a generator
        share = torch.from_numpy(np.random.default_rng(seed).beta(self.alpha, self.alpha, batch))
        weight = torch.where(act, 1 - share, 0.0)
        return Pair(
            *(image.lerp(image[other.to(image.device)], chosen(weight.to(image.dtype), image)) for image in pair)
        )
