"""Hinge loss (Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894; Miyato et al., 2018)."""

from torch import Tensor

from sr.adversarial.loss import AdversarialLoss


class Hinge(AdversarialLoss):
    """D's loss has no gradient for real images with an output above 1 and fake ones with an output below -1.

    `probability` is the logistic function of D's output: for the curves only, it is no probability in the paper.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return (1 - real).relu().mean() + (1 + fake).relu().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return -E[D(G(z))]."""
        return -fake.mean()
