"""Wasserstein GAN (Arjovsky, Chintala and Bottou, "Wasserstein GAN", 2017, https://arxiv.org/abs/1701.07875, eq. 2).

D is a critic: its output is no logit but a score of any size, and it must not be steep. The paper clips its weights; here
`model/penalty=[gradient]` sees to it (WGAN-GP, Gulrajani et al., 2017). Without it, the game runs away.
"""

import math

from torch import Tensor

from sr.adversarial.centred import Centred


class WGAN(Centred):
    """The critic's mean score of real images above that of fakes is, once it has learned, their distance."""

    relative = False
    ceiling, floor = None, -math.inf  # scores of any size: no reading of them is as far as it goes

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(G(z))] − E[D(x)]; D minimises it."""
        self.center(real, fake)
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """−E[D(G(z))]."""
        return -fake.mean()
