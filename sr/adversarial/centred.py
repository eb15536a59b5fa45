"""What to read off a discriminator whose outputs mean something only beside each other, as those of a critic do: adding a
constant to all of them changes no loss, so that none of them alone is a belief."""

import torch
from torch import Tensor, nn


class Centred(nn.Module):
    """Keeps the middle between the mean outputs for real and for fake images, as D last had them."""

    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(()), persistent=False)

    def center(self, real: Tensor, fake: Tensor) -> None:
        self.middle = ((real.detach().mean() + fake.detach().mean()) / 2).float()

    def probability(self, logit: Tensor) -> Tensor:
        """The logistic function of the distance from that middle, mean over the batch: 0.5 for real and fake alike where D
        cannot tell them apart. A reading for the curves, not part of the game."""
        return (logit - self.middle).sigmoid().mean()
