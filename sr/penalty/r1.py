"""`model/penalty=[r1]`: D shall be flat at real images (Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do
actually Converge?", 2018, https://arxiv.org/abs/1801.04406, eq. 9): R1 = γ/2 · E[‖∇D(x)‖²]; `weight` is the paper's γ.

Lazily, every 16th step and 16 times as hard: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020,
https://arxiv.org/abs/1912.04958, section 3.1.
"""

from torch import Tensor, nn

from sr.penalty.slope import slope


class R1(nn.Module):
    """½ · E[‖∇D(x)‖²], the squared norm over all values of an image, the mean over real images."""

    def __init__(self, weight: float = 10.0, every: int = 16) -> None:
        super().__init__()
        self.weight, self.every = weight, every

    def forward(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * slope(discriminator, real).square().sum(dim=1).mean()
