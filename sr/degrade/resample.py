"""Resize by a random factor with a random kernel, as Real-ESRGAN and BSRGAN do: without antialiasing.

Not to be confused with `sr.image.resize`, MATLAB's antialiased bicubic.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.op import Images, Op, Size, check_range, check_weights, draw_weighted
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction, NonNegativeFloat, Range

DIRECTIONS = ("up", "down", "keep")  # Real-ESRGAN's words
KERNELS = ("area", "bilinear", "bicubic", "nearest")


class ResampleParameters(NamedTuple):
    """The resize of one image."""

    factor: float
    kernel: str


class Resample(Op):
    """Resize up, down, or by a factor of 1 (weights `directions`); `factor` = [least, most], least ≤ 1 ≤ most.

    The factor is relative to the size of the op's input (`relative_to: input`) or to the size of LR (`relative_to: lr`):
    `directions: [keep]` with `relative_to: lr` resizes to the size of LR. `kernels` are weights of area, bilinear, bicubic
    (a = -0.75) and nearest. The distribution is uniform in the `factor` (Real-ESRGAN), or in the `divisor`, its
    reciprocal, which gives more small sizes (BSRGAN): `uniform_in`.
    """

    def __init__(
        self,
        probability: Fraction = 1.0,
        directions: Mapping[str, NonNegativeFloat] | Sequence[str] = DIRECTIONS,
        factor: Range = (0.5, 1.5),
        relative_to: Literal["input", "lr"] = "input",
        kernels: Mapping[str, NonNegativeFloat] | Sequence[str] = ("area", "bilinear", "bicubic"),
        uniform_in: Literal["factor", "divisor"] = "factor",
    ) -> None:
        super().__init__(probability)
        if relative_to not in ("input", "lr"):
            raise UserError(f"data.degrade: Resample.relative_to={relative_to}: expected input or lr")
        if uniform_in not in ("factor", "divisor"):
            raise UserError(f"data.degrade: Resample.uniform_in={uniform_in}: expected factor or divisor")
        self.uniform_in, self.relative_to = uniform_in, relative_to
        self.directions = check_weights("Resample.directions", directions, DIRECTIONS)
        self.factor = check_range("Resample.factor", factor, low=0.01, high=8)
        if not self.factor[0] <= 1 <= self.factor[1]:
            raise UserError(f"data.degrade: Resample.factor={factor}: expected [least, most] with 1 between them")
        self.kernels = check_weights("Resample.kernels", kernels, KERNELS)

    def draw(self, rng: np.random.Generator) -> ResampleParameters:
        direction, (least, most) = draw_weighted(rng, self.directions), self.factor
        # Both factors are drawn in any case: the numbers that follow must not depend on the direction.
        factors = {"up": self._draw_factor(rng, 1, most), "down": self._draw_factor(rng, least, 1), "keep": 1.0}
        return ResampleParameters(factors[direction], draw_weighted(rng, self.kernels))

    def _draw_factor(self, rng: np.random.Generator, low: float, high: float) -> float:
        return rng.uniform(low, high) if self.uniform_in == "factor" else 1 / rng.uniform(1 / high, 1 / low)

    def forward(self, images: Images, parameters: Sequence[ResampleParameters], lr_size: Size) -> Images:
        return [self.resize(image, p, lr_size) for image, p in zip(images, parameters, strict=True)]

    def output_size(self, p: ResampleParameters, input_size: Size, lr_size: Size) -> Size:
        """Return the size to which an image of `input_size` is resized."""
        return tuple(max(1, int(n * p.factor)) for n in (lr_size if self.relative_to == "lr" else input_size))

    def resize(self, image: Tensor, p: ResampleParameters, lr_size: Size) -> Tensor:
        """Resize an image `[C, h, w]`."""
        size = self.output_size(p, image.shape[-2:], lr_size)
        return image if size == image.shape[-2:] else F.interpolate(image[None], size=size, mode=p.kernel)[0]
