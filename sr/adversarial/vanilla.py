"""The original GAN loss (Goodfellow et al., "Generative Adversarial Nets", 2014, https://arxiv.org/abs/1406.2661, eq. 1):
min_G max_D E[log D(x)] + E[log(1 - D(G(z)))], on logits, so that no logarithm ever gets a zero.
"""

import torch.nn.functional as F
from torch import Tensor

from sr.adversarial.label_smoothing import LabelSmoothing, smoothed_label_entropy
from sr.adversarial.loss import AdversarialLoss


class Vanilla(AdversarialLoss):
    """`saturating=False` gives G the paper's practical loss, max log D(G(z)), whose gradient does not vanish if D is strong.

    `label_smoothing` makes D's label of real images 1 - label_smoothing; G's loss does not depend on it.
    """

    def __init__(self, saturating: bool = True, label_smoothing: LabelSmoothing = 0.0) -> None:
        super().__init__()
        self.saturating, self.label_smoothing = saturating, label_smoothing
        self.real_target, self.min_d_loss = 1 - label_smoothing, smoothed_label_entropy(label_smoothing)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return -(E[log D(x)] + E[log(1 - D(G(z)))]) from logits.

        With label smoothing, -E[log D(x)] is the cross entropy with 1 - label_smoothing: since log D - log(1 - D) is the
        logit, that adds label_smoothing · E[logit].
        """
        return F.softplus(-real).mean() + self.label_smoothing * real.mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return E[log(1 - D(G(z)))], or -E[log D(G(z))] if not `saturating`."""
        return -F.softplus(fake).mean() if self.saturating else F.softplus(-fake).mean()
