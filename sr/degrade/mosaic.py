"""What a camera's sensor sees: one colour a pixel, with its noise; and the picture that is interpolated from that."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.blur import mirrored
from sr.degrade.op import Images, Op, Size, generator, new_seed, span

# Bilinear: each missing value is the mean of the nearest pixels of its colour
_CROSS = ((0.0, 0.25, 0.0), (0.25, 1.0, 0.25), (0.0, 0.25, 0.0))
_SQUARE = ((0.25, 0.5, 0.25), (0.5, 1.0, 0.5), (0.25, 0.5, 0.25))


class MosaicDraw(NamedTuple):
    shot: float
    read: float
    down: int
    right: int
    seed: int


class Mosaic(Op):
    """Bayer mosaic (RGGB, moved by 0 or 1 pixel each way), the sensor's noise on it, and bilinear demosaicing.

    The noise has the variance shot² · x + read² (Foi et al., "Practical Poissonian-Gaussian Noise Modeling", 2008,
    eq. 3), `shot` and `read` in 8-bit levels. Works on the picture as it is, gamma and all. One channel: noise alone.
    """

    def __init__(
        self, probability: float = 1.0, shot: Sequence[float] = (0, 12), read: Sequence[float] = (0, 4)
    ) -> None:
        super().__init__(probability)
        self.shot, self.read = span("Mosaic.shot", shot, high=255), span("Mosaic.read", read, high=255)

    def draw(self, chance: np.random.Generator) -> MosaicDraw:
        moved = chance.integers(0, 2, 2).tolist()
        return MosaicDraw(chance.uniform(*self.shot) / 255, chance.uniform(*self.read) / 255, *moved, new_seed(chance))

    def forward(self, images: Images, draws: Sequence[MosaicDraw], lr: Size) -> Images:
        return [_demosaiced(_sensed(image, draw), draw) for image, draw in zip(images, draws, strict=True)]


def _sensed(image: Tensor, draw: MosaicDraw) -> Tensor:
    image = image.clamp(0, 1)
    noise = torch.randn(image.shape[1:], generator=generator(draw.seed, image.device), device=image.device)
    return (draw.shot**2 * image + draw.read**2).sqrt_().mul_(noise).add_(image).clamp_(0, 1)


def _demosaiced(image: Tensor, draw: MosaicDraw) -> Tensor:
    """Of each channel only its own pixels are looked at; mirrored by an even period, so that colours stay in place."""
    if len(image) != 3:
        return image
    mask = torch.zeros_like(image)
    r, c = draw.down, draw.right
    mask[0, r::2, c::2] = 1
    mask[1, r::2, 1 - c :: 2] = mask[1, 1 - r :: 2, c::2] = 1
    mask[2, 1 - r :: 2, 1 - c :: 2] = 1
    weight = image.new_tensor((_SQUARE, _CROSS, _SQUARE))[:, None]
    return F.conv2d(mirrored(image * mask, 1)[None], weight, groups=3)[0]
