"""Least squares (Mao et al., "Least Squares Generative Adversarial Networks", 2017, https://arxiv.org/abs/1611.04076,
eq. 9: a = 0, b = c = 1)."""

from torch import Tensor

from sr.adversarial.label_smoothing import LabelSmoothing
from sr.adversarial.loss import AdversarialLoss


class LSGAN(AdversarialLoss):
    """D's output is a score, 1 for real and 0 for fake, and not a logit; D's target for real is 1 - label_smoothing."""

    def __init__(self, label_smoothing: LabelSmoothing = 0.0) -> None:
        super().__init__()
        self.label_smoothing, self.real_target = label_smoothing, 1 - label_smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return half the squared distances of D's scores to 1 - label_smoothing (real) and 0 (fake)."""
        return 0.5 * (real - (1 - self.label_smoothing)).square().mean() + 0.5 * fake.square().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return half the squared distance of D's scores of fakes to 1."""
        return 0.5 * (fake - 1).square().mean()

    def probability(self, logit: Tensor) -> Tensor:
        """Return D's mean score, clamped to 0…1."""
        return logit.mean().clamp(0, 1)
