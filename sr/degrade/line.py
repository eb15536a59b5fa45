"""Line patterns across the image, as an analog surveillance camera's cable and its sensor's columns cause them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.degrade.op import Images, Op, Size, check_range, create_generator, draw_seed
from sr.runtime.option_types import Fraction, Range


class LineParameters(NamedTuple):
    """The patterns of one image; the first three are strengths as fractions of white."""

    row_sigma: float
    column_sigma: float
    hum_amplitude: float
    hum_periods: float
    hum_phase: float  # radians
    seed: int


class Line(Op):
    """Add three patterns, the same in all channels, with strengths in 8-bit levels; the result is clipped to 0…1.

    `row_sigma` is the range of the deviation from row to row (interference), `column_sigma` that from column to column
    (fixed-pattern noise of a sensor), `hum_amplitude` the range of the amplitude of slow horizontal bars (mains hum), of
    which `hum_periods` fit into the image's height.
    """

    def __init__(
        self,
        probability: Fraction = 1.0,
        row_sigma: Range = (0, 4),
        column_sigma: Range = (0, 2),
        hum_amplitude: Range = (0, 6),
        hum_periods: Range = (0.5, 4),
    ) -> None:
        super().__init__(probability)
        self.row_sigma = check_range("Line.row_sigma", row_sigma, high=255)
        self.column_sigma = check_range("Line.column_sigma", column_sigma, high=255)
        self.hum_amplitude = check_range("Line.hum_amplitude", hum_amplitude, high=255)
        self.hum_periods = check_range("Line.hum_periods", hum_periods)

    def draw(self, rng: np.random.Generator) -> LineParameters:
        strengths = [rng.uniform(*levels) / 255 for levels in (self.row_sigma, self.column_sigma, self.hum_amplitude)]
        return LineParameters(*strengths, rng.uniform(*self.hum_periods), rng.uniform(0, 2 * math.pi), draw_seed(rng))

    def forward(self, images: Images, parameters: Sequence[LineParameters], lr_size: Size) -> Images:
        return [add_lines(image, p) for image, p in zip(images, parameters, strict=True)]


def add_lines(image: Tensor, p: LineParameters) -> Tensor:
    """Add the patterns to an image `[C, h, w]`."""
    h, w = image.shape[-2:]
    noise = torch.randn(h + w, generator=create_generator(p.seed, image.device), device=image.device)
    y = torch.arange(h, device=image.device) / h
    rows = p.row_sigma * noise[:h] + p.hum_amplitude * torch.sin(2 * math.pi * p.hum_periods * y + p.hum_phase)
    return (image + rows[:, None] + p.column_sigma * noise[h:]).clamp_(0, 1)
