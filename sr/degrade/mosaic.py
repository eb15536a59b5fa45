"""A camera's sensor: one color per pixel (Bayer mosaic) with the sensor's noise, demosaiced bilinearly."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.blur import pad_mirrored
from sr.degrade.op import Images, Op, Size, check_range, create_generator, draw_seed
from sr.runtime.option_types import Fraction, Range

# Bilinear demosaicing: each missing value is the mean of the nearest pixels of its color.
_GREEN_WEIGHTS = ((0.0, 0.25, 0.0), (0.25, 1.0, 0.25), (0.0, 0.25, 0.0))
_RED_BLUE_WEIGHTS = ((0.25, 0.5, 0.25), (0.5, 1.0, 0.5), (0.25, 0.5, 0.25))


class MosaicParameters(NamedTuple):
    """The sensor of one image; the noise is in fractions of white."""

    shot_noise: float
    read_noise: float
    row: int  # 0 or 1: position of the first red pixel
    column: int
    seed: int


class Mosaic(Op):
    """Bayer mosaic (RGGB, shifted by 0 or 1 pixel in each direction), the sensor's noise, and bilinear demosaicing.

    The noise has the variance shot_noise² · x + read_noise² (Foi et al., "Practical Poissonian-Gaussian Noise Modeling",
    2008, eq. 3), both in 8-bit levels. It is applied to the image as it is, including its gamma. An image of one channel
    gets only the noise.
    """

    def __init__(self, probability: Fraction = 1.0, shot_noise: Range = (0, 12), read_noise: Range = (0, 4)) -> None:
        super().__init__(probability)
        self.shot_noise = check_range("Mosaic.shot_noise", shot_noise, high=255)
        self.read_noise = check_range("Mosaic.read_noise", read_noise, high=255)

    def draw(self, rng: np.random.Generator) -> MosaicParameters:
        shift = rng.integers(0, 2, 2).tolist()
        noise = rng.uniform(*self.shot_noise) / 255, rng.uniform(*self.read_noise) / 255
        return MosaicParameters(*noise, *shift, draw_seed(rng))

    def forward(self, images: Images, parameters: Sequence[MosaicParameters], lr_size: Size) -> Images:
        return [demosaic(add_sensor_noise(image, p), p) for image, p in zip(images, parameters, strict=True)]


def add_sensor_noise(image: Tensor, p: MosaicParameters) -> Tensor:
    """Add shot and read noise to an image `[C, h, w]`: the same random numbers for all channels of a pixel."""
    image = image.clamp(0, 1)
    noise = torch.randn(image.shape[1:], generator=create_generator(p.seed, image.device), device=image.device)
    return (p.shot_noise**2 * image + p.read_noise**2).sqrt_().mul_(noise).add_(image).clamp_(0, 1)


def demosaic(image: Tensor, p: MosaicParameters) -> Tensor:
    """Interpolate each channel of `[3, h, w]` from the pixels that the mosaic has of it.

    The border is mirrored with an even period, so that the mosaic's pattern continues in it.
    """
    if len(image) != 3:
        return image
    mask = torch.zeros_like(image)
    r, c = p.row, p.column
    mask[0, r::2, c::2] = 1
    mask[1, r::2, 1 - c :: 2] = mask[1, 1 - r :: 2, c::2] = 1
    mask[2, 1 - r :: 2, 1 - c :: 2] = 1
    weight = image.new_tensor((_RED_BLUE_WEIGHTS, _GREEN_WEIGHTS, _RED_BLUE_WEIGHTS))[:, None]
    return F.conv2d(pad_mirrored(image * mask, 1)[None], weight, groups=3)[0]
