"""The interface of adversarial losses: D's loss, G's loss, and a reading of D's output for the curves."""

from torch import Tensor, nn


class AdversarialLoss(nn.Module):
    """Maps D's outputs for real images (HR) and fake ones (results of G), of any shape, to the losses of D and G.

    The three attributes describe the loss to `GAN` and to the alarm rules.
    """

    relativistic: bool = False  # whether G's loss needs D's output for real images too
    real_target: float | None = 1.0  # the largest `probability` that D aims at for real images; None: it has no bound
    min_d_loss: float = 0.0  # the lower bound of D's loss

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the scalar that D minimizes."""
        raise NotImplementedError

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the scalar that G minimizes; `real` is given if the loss is `relativistic`."""
        raise NotImplementedError

    def probability(self, logit: Tensor) -> Tensor:
        """Return D's probability 0…1 that its images are real, mean over the batch."""
        return logit.sigmoid().mean()
