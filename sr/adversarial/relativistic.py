"""Relativistic average GAN (Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard
GAN", 2018, https://arxiv.org/abs/1807.00734), as in ESRGAN (Wang et al., 2018, https://arxiv.org/abs/1809.00219, eq. 1
and 2): is a real image more realistic than fakes are on average?

Differs from ESRGAN's code (BasicSR), not from its paper: the two terms are added, there they are averaged in both
halves, so that a weight of 5e-3 there is 2.5e-3 here.
"""

from torch import Tensor
from torch.nn import functional as F

from sr.adversarial.centred import Centred


class Relativistic(Centred):
    """D_Ra(x, y) = σ(C(x) − E[C(y)]); the mean is over the batch and, of a map, over all its places."""

    relative = True
    ceiling, floor = 1.0, 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Eq. 1: −E[log D_Ra(real, fake)] − E[log(1 − D_Ra(fake, real))]; D minimises it."""
        self.center(real, fake)
        return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Eq. 2, eq. 1 with the roles exchanged: fakes shall be more realistic than real images on average."""
        if real is None:
            raise TypeError("relative: the generator's half needs the discriminator's output for real images too")
        return F.softplus(real - fake.mean()).mean() + F.softplus(real.mean() - fake).mean()
