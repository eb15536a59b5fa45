"""Relativistic average GAN (Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard
GAN", 2018, https://arxiv.org/abs/1807.00734), as in ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219, eq. 1
and 2): is a real image more realistic than fakes are on average?

Differs from ESRGAN's code (BasicSR), not from its paper: the two terms are added, in the code they are averaged in both
losses, so that a weight of 5e-3 there is 2.5e-3 here.
"""

from torch import Tensor
from torch.nn import functional as F

from sr.adversarial.critic import CriticLoss


class Relativistic(CriticLoss):
    """D_Ra(x, y) = σ(C(x) − E[C(y)]); the mean is over the batch and, if D's output is a map, over all its positions."""

    relativistic = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return eq. 1: −E[log D_Ra(real, fake)] − E[log(1 − D_Ra(fake, real))]."""
        self.update_midpoint(real, fake)
        return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return eq. 2, which is eq. 1 with real and fake exchanged: fakes shall be more realistic than real images."""
        if real is None:
            raise TypeError("a relativistic loss of G needs D's output for real images too")
        return F.softplus(real - fake.mean()).mean() + F.softplus(real.mean() - fake).mean()
