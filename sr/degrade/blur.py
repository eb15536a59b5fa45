"""Blur: each image by a kernel of its own, mirrored at its own borders (`cv2.filter2D`), all in one transform."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.kernel import KINDS, bell, sinc
from sr.degrade.op import Images, Op, Size, canvas, chosen, cut, share, span, weights
from sr.runtime.error import UserError

LARGE = 13  # kernels from this size on may cut at π/5; smaller ones cannot hold such long waves (Real-ESRGAN's code)


class Blur(Op):
    """A kernel of one of `kinds` (weights), or with the probability `sinc` a low-pass.

    `size` is the range of kernel sizes (odd ones are drawn), `sigma` of the deviation in pixels along each axis, `beta`
    and `plateau` of the exponents of the generalised and the plateau kernels, below and above 1 equally often.
    """

    def __init__(
        self,
        probability: float = 1.0,
        kinds: Mapping[str, float] | Sequence[str] = ("iso", "aniso"),
        size: Sequence[int] = (7, 21),
        sigma: Sequence[float] = (0.2, 3),
        beta: Sequence[float] = (0.5, 4),
        plateau: Sequence[float] = (1, 2),
        sinc: float = 0.0,
    ) -> None:
        super().__init__(probability)
        self.kinds = weights("Blur.kinds", kinds, KINDS)
        self.size, self.sigma = odd("Blur.size", size), span("Blur.sigma", sigma, low=0.01)
        self.beta, self.plateau = span("Blur.beta", beta, low=0.01), span("Blur.plateau", plateau, low=0.01)
        self.sinc = share("Blur.sinc", sinc)

    def draw(self, chance: np.random.Generator) -> Tensor:
        n = draw_odd(chance, self.size)
        if chance.random() < self.sinc:
            return sinc(n, chance.uniform(math.pi / (3 if n < LARGE else 5), math.pi))
        kind = chosen(chance, self.kinds)
        sigma = (chance.uniform(*self.sigma), chance.uniform(*self.sigma))
        low, high = self.plateau if kind.startswith("plateau") else self.beta
        beta = (
            chance.uniform(min(low, 1), min(high, 1))
            if chance.random() < 0.5
            else chance.uniform(max(low, 1), max(high, 1))
        )
        return bell(kind, n, sigma, chance.uniform(-math.pi, math.pi), beta)

    def forward(self, images: Images, draws: Sequence[Tensor], lr: Size) -> Images:
        return filtered(images, draws)


class Sinc(Op):
    """A low-pass cut off sharply: the ringing and overshoot of sharpened and of compressed pictures.

    `cutoff` is a range in radians a pixel, at most π.
    """

    def __init__(
        self,
        probability: float = 1.0,
        size: Sequence[int] = (7, 21),
        cutoff: Sequence[float] = (math.pi / 3, math.pi),
    ) -> None:
        super().__init__(probability)
        self.size, self.cutoff = odd("Sinc.size", size), span("Sinc.cutoff", cutoff, 0.1, 3.15)

    def draw(self, chance: np.random.Generator) -> Tensor:
        return sinc(draw_odd(chance, self.size), chance.uniform(*self.cutoff))

    def forward(self, images: Images, draws: Sequence[Tensor], lr: Size) -> Images:
        return filtered(images, draws)


def filtered(images: Images, kernels: Sequence[Tensor]) -> Images:
    """Each image correlated with its kernel `[n, n]`, by Fourier transform: a third of the time of a convolution with
    21×21 weights on a CPU, and the same for every kernel. May overshoot 0…1."""
    reach = max(len(kernel) for kernel in kernels) // 2
    wide = canvas([mirrored(image, reach) for image in images])
    size = [_fast(n) for n in wide.shape[-2:]]
    small = torch.stack([F.pad(kernel, (reach - len(kernel) // 2,) * 4) for kernel in kernels])
    weight = torch.fft.fft(torch.fft.rfft(small.to(wide)[:, None], n=size[1]), n=size[0], dim=-2)
    result = torch.fft.irfft2(torch.fft.rfft2(wide, s=size).mul_(weight.conj_physical_()), s=size)
    return cut(result, images)  # the circle closes beyond what is cut out: wide is no larger than the transform


def mirrored(image: Tensor, reach: int) -> Tensor:
    """`[C, h, w]` with `reach` more pixels on each side, mirrored without repeating the border, however small it is."""
    if reach < min(image.shape[-2:]):
        return F.pad(image, (reach,) * 4, mode="reflect")
    rows, columns = (_fold(n, reach, image.device) for n in image.shape[-2:])
    return image[:, rows][:, :, columns]


def _fold(n: int, reach: int, device: torch.device) -> Tensor:
    place = torch.arange(-reach, n + reach, device=device) % max(1, 2 * n - 2)
    return torch.where(place < n, place, 2 * n - 2 - place)


def _fast(n: int) -> int:
    """The next multiple of 8 without a large prime factor."""
    n = -(-n // 8) * 8
    while True:
        left = n
        for prime in (2, 3, 5, 7, 11):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return n
        n += 8


def odd(dial: str, value: Sequence[int]) -> list[int]:
    low, high = span(dial, value, low=3, high=99)
    if low % 2 == 0 or high % 2 == 0 or not isinstance(low, int) or not isinstance(high, int):
        raise UserError(f"data.degrade: {dial}={value}: expected odd sizes of the kernel")
    return [low, high]


def draw_odd(chance: np.random.Generator, size: Sequence[int]) -> int:
    return 2 * int(chance.integers(size[0] // 2, size[1] // 2 + 1)) + 1
