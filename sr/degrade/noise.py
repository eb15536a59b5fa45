"""Noise: Gaussian, in colour, gray, or of correlated channels; and Poisson, the noise of counted light.

Each image's noise comes from a generator of its own, on its device: a CPU and a GPU draw other noise.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.degrade.op import Images, Op, Size, generator, new_seed, share, span
from sr.image.color import GRAY_WEIGHTS
from sr.runtime.error import UserError

STEPS = 4096


class Drawn(NamedTuple):
    strength: float
    mix: np.ndarray | None  # [3, 3]: what three independent channels are mixed by; None: not at all
    gray: bool
    seed: int


class Gaussian(Op):
    """Additive, of a deviation within `sigma` (8-bit levels); clipped to 0…1.

    With the probability `gray` all channels get the same, with `correlated` they are mixed at random (Zhang et al.,
    "Designing a Practical Degradation Model", 2021, sec. 3.3), else each gets its own.
    """

    def __init__(
        self,
        probability: float = 1.0,
        sigma: Sequence[float] = (1, 30),
        gray: float = 0.4,
        correlated: float = 0.0,
    ) -> None:
        super().__init__(probability)
        self.sigma = span("Gaussian.sigma", sigma, high=255)
        self.gray, self.correlated = share("Gaussian.gray", gray), share("Gaussian.correlated", correlated)
        if gray + correlated > 1:
            raise UserError(
                f"data.degrade: Gaussian.gray={gray} and correlated={correlated}: expected at most 1 together"
            )

    def draw(self, chance: np.random.Generator) -> Drawn:
        strength, kind = chance.uniform(*self.sigma) / 255, chance.random()
        mix = None
        if self.gray <= kind < self.gray + self.correlated:
            turn, _ = np.linalg.qr(chance.random((3, 3)))
            mix = np.sqrt(chance.random(3)) * turn
        return Drawn(strength, mix, kind < self.gray, new_seed(chance))

    def forward(self, images: Images, draws: Sequence[Drawn], lr: Size) -> Images:
        return [_noisy(image, draw) for image, draw in zip(images, draws, strict=True)]


class Poisson(Op):
    """Counted light: the variance grows with brightness. `scale` multiplies the noise of as many counts at white as
    there are levels in the image, rounded up to a power of two (Real-ESRGAN's code); with the probability `gray` all
    channels get the noise of their luma. Clipped to 0…1."""

    def __init__(self, probability: float = 1.0, scale: Sequence[float] = (0.05, 3), gray: float = 0.4) -> None:
        super().__init__(probability)
        self.scale, self.gray = span("Poisson.scale", scale), share("Poisson.gray", gray)

    def draw(self, chance: np.random.Generator) -> Drawn:
        return Drawn(chance.uniform(*self.scale), None, chance.random() < self.gray, new_seed(chance))

    def forward(self, images: Images, draws: Sequence[Drawn], lr: Size) -> Images:
        return [_counted(image, draw) for image, draw in zip(images, draws, strict=True)]


def _noisy(image: Tensor, draw: Drawn) -> Tensor:
    shape = image[:1].shape if draw.gray else image.shape
    noise = torch.randn(shape, generator=generator(draw.seed, image.device), device=image.device)
    if draw.mix is not None and len(image) == 3:
        mix = torch.from_numpy(draw.mix).to(noise)
        noise = (mix @ noise.flatten(1)).view(shape)
    return noise.mul_(draw.strength).add(image).clamp_(0, 1)


def _counted(image: Tensor, draw: Drawn) -> Tensor:
    light = image
    if draw.gray and len(image) == 3:
        weight = torch.tensor(GRAY_WEIGHTS, dtype=image.dtype, device=image.device)
        light = (weight @ image.flatten(1)).view(1, *image.shape[1:])
    levels = (light * 255).round_().clamp_(0, 255)
    seen = torch.zeros(256, device=image.device).index_fill_(0, levels.flatten().long(), 1).sum()
    white = 2 ** torch.ceil(torch.log2(seen))  # counts
    counts = _counts(levels, white, generator(draw.seed, image.device))
    return (counts / white).sub_(levels.div_(255)).mul_(draw.strength).add(image).clamp_(0, 1)


def _counts(levels: Tensor, white: Tensor, chance: torch.Generator) -> Tensor:
    """Poisson numbers of the mean levels / 255 · white. On a CPU, where `torch.poisson` takes half of a chain's time,
    by looking up one of `STEPS` equally likely numbers for each level."""
    if levels.device.type != "cpu":
        return torch.poisson(levels * (white / 255), generator=chance)
    words = torch.empty(-(-levels.numel() // 4), dtype=torch.int64).random_(generator=chance).view(torch.int16)
    place = words[: levels.numel()].bitwise_and_(STEPS - 1) + levels.flatten().int().mul_(STEPS)
    return _quantiles(int(white)).index_select(0, place).view(levels.shape)


@lru_cache
def _quantiles(white: int) -> Tensor:
    """`[256 · STEPS]`: for each level the Poisson numbers that stand in the middle of each of `STEPS` equal shares."""
    mean = torch.arange(256, dtype=torch.float64)[:, None] / 255 * white
    count = torch.arange(2 * white + 32, dtype=torch.float64)
    chance = torch.exp(torch.special.xlogy(count, mean) - mean - torch.lgamma(count + 1))
    share = (torch.arange(STEPS, dtype=torch.float64) + 0.5) / STEPS
    return torch.searchsorted(chance.cumsum(dim=1), share.expand(256, -1).contiguous()).float().flatten()
