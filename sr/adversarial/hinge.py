"""Hinge loss (Lim and Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894; Miyato et al., 2018)."""

from torch import Tensor, nn


class Hinge(nn.Module):
    """D stops pushing once real is above 1 and fake below -1."""

    relative = False
    ceiling, floor = 1.0, 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return (1 - real).relu().mean() + (1 + fake).relu().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-E[D(G(z))]."""
        return -fake.mean()

    def probability(self, logit: Tensor) -> Tensor:
        """The logistic function of D's margin, mean over the batch: a reading for the curves, not part of the game."""
        return logit.sigmoid().mean()
