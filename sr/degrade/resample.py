"""Resizing by a random factor and a random kernel, as Real-ESRGAN and BSRGAN do it: without antialiasing.

Not to be mixed up with `sr.image.resize`, MATLAB's antialiased bicubic.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.op import Images, Op, Size, chosen, span, weights
from sr.runtime.error import UserError

WAYS = ("up", "down", "keep")
KERNELS = ("area", "bilinear", "bicubic", "nearest")


class Resampling(NamedTuple):
    factor: float
    kernel: str


class Resample(Op):
    """Larger, smaller or as it is (weights `ways`), by a factor of `factor` = [least, most], least ≤ 1 ≤ most.

    `of: now` counts the factor from the size that the image has, `of: lr` from the size that the chain ends at: with
    `ways: [keep]` and `of: lr`, that is the resize to the size of LR. `kernels` are weights of area, bilinear, bicubic
    (a = -0.75) and nearest. `evenly` is what is drawn uniformly: the `factor` (Real-ESRGAN), or the `divisor`, its reciprocal,
    of which more are small sizes (BSRGAN).
    """

    def __init__(
        self,
        probability: float = 1.0,
        ways: Mapping[str, float] | Sequence[str] = WAYS,
        factor: Sequence[float] = (0.5, 1.5),
        of: Literal["now", "lr"] = "now",
        kernels: Mapping[str, float] | Sequence[str] = ("area", "bilinear", "bicubic"),
        evenly: Literal["factor", "divisor"] = "factor",
    ) -> None:
        super().__init__(probability)
        if of not in ("now", "lr"):
            raise UserError(f"data.degrade: Resample.of={of}: expected now or lr")
        if evenly not in ("factor", "divisor"):
            raise UserError(f"data.degrade: Resample.evenly={evenly}: expected factor or divisor")
        self.evenly = evenly
        self.of, self.ways = of, weights("Resample.ways", ways, WAYS)
        self.factor = span("Resample.factor", factor, low=0.01, high=8)
        if not self.factor[0] <= 1 <= self.factor[1]:
            raise UserError(f"data.degrade: Resample.factor={factor}: expected [least, most] with 1 between them")
        self.kernels = weights("Resample.kernels", kernels, KERNELS)

    def draw(self, chance: np.random.Generator) -> Resampling:
        way, (least, most) = chosen(chance, self.ways), self.factor
        factor = {"up": self._between(chance, 1, most), "down": self._between(chance, least, 1), "keep": 1.0}[way]
        return Resampling(factor, chosen(chance, self.kernels))

    def _between(self, chance: np.random.Generator, low: float, high: float) -> float:
        return chance.uniform(low, high) if self.evenly == "factor" else 1 / chance.uniform(1 / high, 1 / low)

    def forward(self, images: Images, draws: Sequence[Resampling], lr: Size) -> Images:
        return [self._resampled(image, draw, lr) for image, draw in zip(images, draws, strict=True)]

    def size(self, draw: Resampling, now: Size, lr: Size) -> Size:
        """The size that an image of size `now` gets."""
        return tuple(max(1, int(n * draw.factor)) for n in (lr if self.of == "lr" else now))

    def _resampled(self, image: Tensor, draw: Resampling, lr: Size) -> Tensor:
        size = self.size(draw, image.shape[-2:], lr)
        return image if size == image.shape[-2:] else F.interpolate(image[None], size=size, mode=draw.kernel)[0]
