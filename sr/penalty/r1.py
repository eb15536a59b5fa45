"""`model/penalty=[r1]`: D's gradient shall be 0 at real images (Mescheder, Geiger and Nowozin, "Which Training Methods for
GANs do actually Converge?", 2018, https://arxiv.org/abs/1801.04406, eq. 9): R1 = γ/2 · E[‖∇D(x)‖²]; `weight` is their γ.

Lazy regularization, every 16th update and 16 times as strong: Karras et al., "Analyzing and Improving the Image Quality of
StyleGAN", 2020, https://arxiv.org/abs/1912.04958, section 3.1.
"""

from torch import Tensor, nn

from sr.penalty.input_gradient import input_gradient
from sr.runtime.option_types import NonNegativeFloat, PositiveInt


class R1(nn.Module):
    """½ · E[‖∇D(x)‖²], the squared norm over all values of an image, the mean over real images."""

    def __init__(self, weight: NonNegativeFloat = 10.0, interval: PositiveInt = 16) -> None:
        super().__init__()
        self.weight, self.interval = weight, interval

    def forward(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * input_gradient(discriminator, real).square().sum(dim=1).mean()
