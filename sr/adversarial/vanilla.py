"""The original game (Goodfellow et al., "Generative Adversarial Nets", 2014, https://arxiv.org/abs/1406.2661, eq. 1):
min_G max_D E[log D(x)] + E[log(1 - D(G(z)))], on logits, so that no logarithm ever sees a zero.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from sr.adversarial.smoothing import checked, entropy


class Vanilla(nn.Module):
    """`saturating=False` gives G the paper's practical form, max log D(G(z)), whose gradient survives a strong D.

    `smooth` makes D's label of real images 1 - smooth; G's half does not know of it.
    """

    relative = False

    def __init__(self, saturating: bool = True, smooth: float = 0.0) -> None:
        super().__init__()
        self.saturating = saturating
        self.smooth = checked(smooth)
        self.ceiling, self.floor = 1 - smooth, entropy(smooth)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-(E[log D(x)] + E[log(1 - D(G(z)))]) from logits; D minimises it.

        Smoothed, -E[log D(x)] is the cross entropy with 1 - smooth: since log D - log(1 - D) is the logit, that adds
        smooth · E[logit].
        """
        return F.softplus(-real).mean() + self.smooth * real.mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """E[log(1 - D(G(z)))], or -E[log D(G(z))]; G minimises it."""
        return -F.softplus(fake).mean() if self.saturating else F.softplus(-fake).mean()

    def probability(self, logit: Tensor) -> Tensor:
        """D's belief that an image is real, mean over the batch, 0…1."""
        return logit.sigmoid().mean()
