"""Least squares (Mao et al., "Least Squares Generative Adversarial Networks", 2017, https://arxiv.org/abs/1611.04076,
eq. 9: a = 0, b = c = 1)."""

from torch import Tensor, nn


class LSGAN(nn.Module):
    """D's output is a score, 1 for real and 0 for fake; not a logit."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the squared distances of D's scores to 1 (real) and 0 (fake)."""
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Half the squared distance of D's scores of fakes to 1."""
        return 0.5 * (fake - 1).square().mean()

    def probability(self, score: Tensor) -> Tensor:
        """D's mean score, clamped to 0…1."""
        return score.mean().clamp(0, 1)
