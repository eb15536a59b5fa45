"""Losses of a critic: adding a constant to all of its outputs changes no loss, so no output alone is a probability."""

import torch
from torch import Tensor

from sr.adversarial.loss import AdversarialLoss


class CriticLoss(AdversarialLoss):
    """Stores the midpoint between the critic's mean outputs for real and for fake images, from its last update."""

    midpoint: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("midpoint", torch.zeros(()), persistent=False)

    def update_midpoint(self, real: Tensor, fake: Tensor) -> None:
        """Set the midpoint from the critic's outputs."""
        self.midpoint = ((real.detach().mean() + fake.detach().mean()) / 2).float()

    def probability(self, logit: Tensor) -> Tensor:
        """Return the logistic function of the distance from the midpoint, mean over the batch.

        It is 0.5 for real and fake images if D cannot distinguish them. For the curves only; no loss depends on it.
        """
        return (logit - self.midpoint).sigmoid().mean()
