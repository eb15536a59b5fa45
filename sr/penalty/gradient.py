"""`model/penalty=[gradient]`: the norm of the critic's gradient shall be 1 (Gulrajani et al., "Improved Training of
Wasserstein GANs", 2017, https://arxiv.org/abs/1704.00028, eq. 3) between real and fake images; `weight` is the paper's λ.

The paper's critics have no batch normalization, with which an image's gradient also depends on the others in its batch.
"""

import torch
from torch import Tensor, nn

from sr.penalty.input_gradient import input_gradient
from sr.runtime.option_types import NonNegativeFloat, PositiveInt


class GradientPenalty(nn.Module):
    """E[(‖∇D(x̂)‖ − 1)²] at x̂ = ε·real + (1 − ε)·fake, ε uniform in 0…1, one for each image, from PyTorch's RNG."""

    def __init__(self, weight: NonNegativeFloat = 10.0, interval: PositiveInt = 1) -> None:
        super().__init__()
        self.weight, self.interval = weight, interval

    def forward(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        epsilon = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = epsilon * real.detach() + (1 - epsilon) * fake.detach()
        gradient = input_gradient(discriminator, between)
        norm = torch.linalg.vector_norm(gradient, dim=1)  # differentiable at 0, unlike a square root
        return (norm - 1).square().mean()
