"""Least squares (Mao et al., "Least Squares Generative Adversarial Networks", 2017, https://arxiv.org/abs/1611.04076,
eq. 9: a = 0, b = c = 1)."""

from torch import Tensor, nn

from sr.adversarial.smoothing import checked


class LSGAN(nn.Module):
    """D's output is a score, 1 for real and 0 for fake; not a logit. `smooth` makes D's score for real 1 - smooth."""

    relative = False
    floor = 0.0

    def __init__(self, smooth: float = 0.0) -> None:
        super().__init__()
        self.smooth = checked(smooth)
        self.ceiling = 1 - smooth

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the squared distances of D's scores to 1 - smooth (real) and 0 (fake)."""
        return 0.5 * (real - (1 - self.smooth)).square().mean() + 0.5 * fake.square().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Half the squared distance of D's scores of fakes to 1."""
        return 0.5 * (fake - 1).square().mean()

    def probability(self, score: Tensor) -> Tensor:
        """D's mean score, clamped to 0…1."""
        return score.mean().clamp(0, 1)
