"""`model/penalty=[gradient]`: the critic's slope shall be 1 (Gulrajani et al., "Improved Training of Wasserstein GANs",
2017, https://arxiv.org/abs/1704.00028, eq. 3), measured between real and fake images; `weight` is the paper's λ.

The paper's critics have no batch normalization, with which an image's slope is also that of the others in its batch.
"""

import torch
from torch import Tensor, nn

from sr.penalty.slope import slope


class GradientPenalty(nn.Module):
    """E[(‖∇D(x̂)‖ − 1)²] at x̂ = ε·real + (1 − ε)·fake, ε uniform in 0…1, one for each image, from torch's generator."""

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__()
        self.weight, self.every = weight, every

    def forward(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = share * real.detach() + (1 - share) * fake.detach()
        norm = torch.linalg.vector_norm(slope(discriminator, between), dim=1)  # differentiable at 0, unlike a root
        return (norm - 1).square().mean()
