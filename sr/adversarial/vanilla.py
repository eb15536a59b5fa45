"""The original game (Goodfellow et al., "Generative Adversarial Nets", 2014, https://arxiv.org/abs/1406.2661, eq. 1):
min_G max_D E[log D(x)] + E[log(1 - D(G(z)))], on logits, so that no logarithm ever sees a zero.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Vanilla(nn.Module):
    """`saturating=False` gives G the paper's practical form, max log D(G(z)), whose gradient survives a strong D."""

    def __init__(self, saturating: bool = True) -> None:
        super().__init__()
        self.saturating = saturating

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-(E[log D(x)] + E[log(1 - D(G(z)))]) from logits; D minimises it."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """E[log(1 - D(G(z)))], or -E[log D(G(z))]; G minimises it."""
        return -F.softplus(fake).mean() if self.saturating else F.softplus(-fake).mean()

    def probability(self, logit: Tensor) -> Tensor:
        """D's belief that an image is real, mean over the batch, 0…1."""
        return logit.sigmoid().mean()
