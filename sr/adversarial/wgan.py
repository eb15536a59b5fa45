"""Wasserstein GAN (Arjovsky, Chintala and Bottou, "Wasserstein GAN", 2017, https://arxiv.org/abs/1701.07875, eq. 2).

D is a critic: its output is no logit but a score without bounds, and its slope must be bounded. The paper clips its
weights; here `model/penalty=[gradient]` does it (WGAN-GP, Gulrajani et al., 2017). Without it, the scores diverge.
"""

import math

from torch import Tensor

from sr.adversarial.critic import CriticLoss


class WGAN(CriticLoss):
    """The critic's mean score of real images minus that of fakes estimates the distance of the two distributions."""

    real_target, min_d_loss = None, -math.inf  # scores have no bounds

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E[D(G(z))] − E[D(x)]."""
        self.update_midpoint(real, fake)
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return −E[D(G(z))]."""
        return -fake.mean()
