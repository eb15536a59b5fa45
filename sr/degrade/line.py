"""Lines across the picture, as an analog surveillance camera's cable and its sensor's columns leave them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.degrade.op import Images, Op, Size, generator, new_seed, span


class Lines(NamedTuple):
    row: float
    column: float
    hum: float
    turns: float
    phase: float
    seed: int


class Line(Op):
    """Three patterns at once, the same in all channels, in 8-bit levels; clipped to 0…1.

    `row` is the range of the deviation from row to row (interference), `column` from column to column (a sensor's fixed
    pattern), `hum` the range of the amplitude of slow bars from the mains, of which `bars` fit into the picture.
    """

    def __init__(
        self,
        probability: float = 1.0,
        row: Sequence[float] = (0, 4),
        column: Sequence[float] = (0, 2),
        hum: Sequence[float] = (0, 6),
        bars: Sequence[float] = (0.5, 4),
    ) -> None:
        super().__init__(probability)
        self.row, self.column = span("Line.row", row, high=255), span("Line.column", column, high=255)
        self.hum, self.bars = span("Line.hum", hum, high=255), span("Line.bars", bars)

    def draw(self, chance: np.random.Generator) -> Lines:
        strength = [chance.uniform(*levels) / 255 for levels in (self.row, self.column, self.hum)]
        return Lines(*strength, chance.uniform(*self.bars), chance.uniform(0, 2 * math.pi), new_seed(chance))

    def forward(self, images: Images, draws: Sequence[Lines], lr: Size) -> Images:
        return [_lined(image, draw) for image, draw in zip(images, draws, strict=True)]


def _lined(image: Tensor, draw: Lines) -> Tensor:
    h, w = image.shape[-2:]
    noise = torch.randn(h + w, generator=generator(draw.seed, image.device), device=image.device)
    down = torch.arange(h, device=image.device) / h
    rows = draw.row * noise[:h] + draw.hum * torch.sin(2 * math.pi * draw.turns * down + draw.phase)
    return (image + rows[:, None] + draw.column * noise[h:]).clamp_(0, 1)
