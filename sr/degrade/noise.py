"""Noise: Gaussian (color, gray, or with correlated channels) and Poisson, the shot noise of light.

Each image's noise comes from a generator of its own on the image's device: a CPU and a GPU draw different noise.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.degrade.op import Images, Op, Size, check_probability, check_range, create_generator, draw_seed
from sr.image.color import GRAY_WEIGHTS
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction, Range

QUANTILES = 4096  # Poisson numbers in the lookup table of each level; a power of two


class NoiseParameters(NamedTuple):
    """The noise of one image."""

    strength: float  # Gaussian: deviation as a fraction of white; Poisson: factor of the noise
    mixing: np.ndarray | None  # [3, 3]: multiplies the noise of three independent channels; None: they stay independent
    gray: bool  # all channels get the same noise
    seed: int


class Gaussian(Op):
    """Add noise with a deviation in the range `sigma` (8-bit levels); the result is clipped to 0…1.

    With `gray_probability` all channels get the same noise, with `correlated_probability` the noise of the channels is
    mixed by a random matrix (Zhang et al., "Designing a Practical Degradation Model", 2021, sec. 3.3), else it is
    independent.
    """

    def __init__(
        self,
        probability: Fraction = 1.0,
        sigma: Range = (1, 30),
        gray_probability: Fraction = 0.4,
        correlated_probability: Fraction = 0.0,
    ) -> None:
        super().__init__(probability)
        self.sigma = check_range("Gaussian.sigma", sigma, high=255)
        self.gray_probability = check_probability("Gaussian.gray_probability", gray_probability)
        self.correlated_probability = check_probability("Gaussian.correlated_probability", correlated_probability)
        if gray_probability + correlated_probability > 1:
            raise UserError(
                f"data.degrade: Gaussian.gray_probability={gray_probability} and correlated_probability="
                f"{correlated_probability}: expected a sum of at most 1"
            )

    def draw(self, rng: np.random.Generator) -> NoiseParameters:
        strength, number = rng.uniform(*self.sigma) / 255, rng.random()
        mixing = None
        if self.gray_probability <= number < self.gray_probability + self.correlated_probability:
            rotation, _ = np.linalg.qr(rng.random((3, 3)))
            mixing = np.sqrt(rng.random(3)) * rotation
        return NoiseParameters(strength, mixing, number < self.gray_probability, draw_seed(rng))

    def forward(self, images: Images, parameters: Sequence[NoiseParameters], lr_size: Size) -> Images:
        return [add_gaussian_noise(image, p) for image, p in zip(images, parameters, strict=True)]


class Poisson(Op):
    """Add shot noise, whose variance grows with brightness; the result is clipped to 0…1.

    The noise is that of photon counts whose mean at white is the number of different levels in the image, rounded up to a
    power of two (Real-ESRGAN's code), multiplied by a factor in the range `scale`. With `gray_probability` all channels
    get the noise of their luma.
    """

    def __init__(self, probability: Fraction = 1.0, scale: Range = (0.05, 3), gray_probability: Fraction = 0.4) -> None:
        super().__init__(probability)
        self.scale = check_range("Poisson.scale", scale)
        self.gray_probability = check_probability("Poisson.gray_probability", gray_probability)

    def draw(self, rng: np.random.Generator) -> NoiseParameters:
        return NoiseParameters(rng.uniform(*self.scale), None, rng.random() < self.gray_probability, draw_seed(rng))

    def forward(self, images: Images, parameters: Sequence[NoiseParameters], lr_size: Size) -> Images:
        return [add_poisson_noise(image, p) for image, p in zip(images, parameters, strict=True)]


def add_gaussian_noise(image: Tensor, p: NoiseParameters) -> Tensor:
    """Add Gaussian noise to an image `[C, h, w]`."""
    shape = image[:1].shape if p.gray else image.shape
    noise = torch.randn(shape, generator=create_generator(p.seed, image.device), device=image.device)
    if p.mixing is not None and len(image) == 3:
        noise = (torch.from_numpy(p.mixing).to(noise) @ noise.flatten(1)).view(shape)
    return noise.mul_(p.strength).add(image).clamp_(0, 1)


def add_poisson_noise(image: Tensor, p: NoiseParameters) -> Tensor:
    """Add Poisson noise to an image `[C, h, w]`."""
    source = image
    if p.gray and len(image) == 3:
        weight = torch.tensor(GRAY_WEIGHTS, dtype=image.dtype, device=image.device)
        source = (weight @ image.flatten(1)).view(1, *image.shape[1:])
    levels = (source * 255).round_().clamp_(0, 255)
    different_levels = torch.zeros(256, device=image.device).index_fill_(0, levels.flatten().long(), 1).sum()
    white = 2 ** torch.ceil(torch.log2(different_levels))  # mean count at white
    counts = _draw_counts(levels, white, create_generator(p.seed, image.device))
    return (counts / white).sub_(levels.div_(255)).mul_(p.strength).add(image).clamp_(0, 1)


def _draw_counts(levels: Tensor, white: Tensor, generator: torch.Generator) -> Tensor:
    """Draw Poisson numbers with the means levels / 255 · white.

    On a CPU, where `torch.poisson` takes half of a chain's time, look up one of `QUANTILES` equally probable numbers.
    """
    if levels.device.type != "cpu":
        return torch.poisson(levels * (white / 255), generator=generator)
    words = torch.empty(-(-levels.numel() // 4), dtype=torch.int64).random_(generator=generator).view(torch.int16)
    index = words[: levels.numel()].bitwise_and_(QUANTILES - 1) + levels.flatten().int().mul_(QUANTILES)
    return _build_quantile_table(int(white)).index_select(0, index).view(levels.shape)


@lru_cache
def _build_quantile_table(white: int) -> Tensor:
    """Return `[256 · QUANTILES]`: for each level the Poisson quantiles at the midpoints of equal probability intervals."""
    mean = torch.arange(256, dtype=torch.float64)[:, None] / 255 * white
    count = torch.arange(2 * white + 32, dtype=torch.float64)
    probability = torch.exp(torch.special.xlogy(count, mean) - mean - torch.lgamma(count + 1))
    midpoints = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    return torch.searchsorted(probability.cumsum(dim=1), midpoints.expand(256, -1).contiguous()).float().flatten()
