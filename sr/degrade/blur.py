"""Blur: each image by its own kernel, with mirrored borders (`cv2.filter2D`), all images in one Fourier transform."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.kernel import KINDS, create_gaussian, create_sinc
from sr.degrade.op import (
    Images,
    Op,
    Size,
    check_probability,
    check_range,
    check_weights,
    draw_weighted,
    stack_padded,
    unstack_cropped,
)
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction, IntRange, NonNegativeFloat, Range

# A kernel of at least this size may have its cutoff at π/5, smaller ones at π/3: they cannot hold such long waves
# (Real-ESRGAN's code).
LARGE_KERNEL = 13


class Blur(Op):
    """Blur with a kernel of one of `kinds` (weights), or with `sinc_probability` with a circular low-pass.

    `size` is the range of kernel sizes (odd ones are drawn), `sigma` that of the deviation in pixels along each axis,
    `beta` and `plateau_beta` those of the exponents of generalized Gaussians and plateau kernels, which are below and
    above 1 equally often.
    """

    def __init__(
        self,
        probability: Fraction = 1.0,
        kinds: Mapping[str, NonNegativeFloat] | Sequence[str] = ("iso", "aniso"),
        size: IntRange = (7, 21),
        sigma: Range = (0.2, 3),
        beta: Range = (0.5, 4),
        plateau_beta: Range = (1, 2),
        sinc_probability: Fraction = 0.0,
    ) -> None:
        super().__init__(probability)
        self.kinds = check_weights("Blur.kinds", kinds, KINDS)
        self.size, self.sigma = check_odd_range("Blur.size", size), check_range("Blur.sigma", sigma, low=0.01)
        self.beta = check_range("Blur.beta", beta, low=0.01)
        self.plateau_beta = check_range("Blur.plateau_beta", plateau_beta, low=0.01)
        self.sinc_probability = check_probability("Blur.sinc_probability", sinc_probability)

    def draw(self, rng: np.random.Generator) -> Tensor:
        n = draw_odd(rng, self.size)
        if rng.random() < self.sinc_probability:
            return create_sinc(n, rng.uniform(math.pi / (3 if n < LARGE_KERNEL else 5), math.pi))
        kind = draw_weighted(rng, self.kinds)
        sigma = (rng.uniform(*self.sigma), rng.uniform(*self.sigma))
        low, high = self.plateau_beta if kind.startswith("plateau") else self.beta
        beta = rng.uniform(min(low, 1), min(high, 1)) if rng.random() < 0.5 else rng.uniform(max(low, 1), max(high, 1))
        return create_gaussian(kind, n, sigma, rng.uniform(-math.pi, math.pi), beta)

    def forward(self, images: Images, parameters: Sequence[Tensor], lr_size: Size) -> Images:
        return filter_images(images, parameters)


class Sinc(Op):
    """Apply a low-pass with a sharp cutoff, which causes the ringing and overshoot of sharpened and compressed images.

    `cutoff` is a range in radians per pixel, at most π.
    """

    def __init__(
        self,
        probability: Fraction = 1.0,
        size: IntRange = (7, 21),
        cutoff: Range = (math.pi / 3, math.pi),
    ) -> None:
        super().__init__(probability)
        self.size, self.cutoff = check_odd_range("Sinc.size", size), check_range("Sinc.cutoff", cutoff, 0.1, 3.15)

    def draw(self, rng: np.random.Generator) -> Tensor:
        return create_sinc(draw_odd(rng, self.size), rng.uniform(*self.cutoff))

    def forward(self, images: Images, parameters: Sequence[Tensor], lr_size: Size) -> Images:
        return filter_images(images, parameters)


def filter_images(images: Images, kernels: Sequence[Tensor]) -> Images:
    """Correlate each image with its kernel `[n, n]`, by Fourier transform; the result may leave 0…1.

    On a CPU this takes a third of the time of a convolution with 21×21 weights, whatever the kernel size.
    """
    radius = max(len(kernel) for kernel in kernels) // 2
    padded = stack_padded([pad_mirrored(image, radius) for image in images])
    size = [_find_fast_size(n) for n in padded.shape[-2:]]
    small = torch.stack([F.pad(kernel, (radius - len(kernel) // 2,) * 4) for kernel in kernels])
    weight = torch.fft.fft(torch.fft.rfft(small.to(padded)[:, None], n=size[1]), n=size[0], dim=-2)
    result = torch.fft.irfft2(torch.fft.rfft2(padded, s=size).mul_(weight.conj_physical_()), s=size)
    return unstack_cropped(
        result, images
    )  # circular wrapping affects only what is cropped: the transform is no smaller


def pad_mirrored(image: Tensor, radius: int) -> Tensor:
    """Pad `[C, h, w]` by `radius` pixels on each side, mirrored without repeating the border, also if it is larger."""
    if radius < min(image.shape[-2:]):
        return F.pad(image, (radius,) * 4, mode="reflect")
    rows, columns = (_mirror_indices(n, radius, image.device) for n in image.shape[-2:])
    return image[:, rows][:, :, columns]


def _mirror_indices(n: int, radius: int, device: torch.device) -> Tensor:
    """Return the index of the mirrored pixel for each position in -radius … n + radius - 1."""
    index = torch.arange(-radius, n + radius, device=device) % max(1, 2 * n - 2)
    return torch.where(index < n, index, 2 * n - 2 - index)


def _find_fast_size(n: int) -> int:
    """Return the next multiple of 8 whose prime factors are all at most 11."""
    n = -(-n // 8) * 8
    while True:
        remainder = n
        for prime in (2, 3, 5, 7, 11):
            while remainder % prime == 0:
                remainder //= prime
        if remainder == 1:
            return n
        n += 8


def check_odd_range(option: str, value: Sequence[int]) -> list[int]:
    """Return `value` as a list, or raise if it is no range of odd kernel sizes in 3…99."""
    low, high = check_range(option, value, low=3, high=99)
    if low % 2 == 0 or high % 2 == 0 or not isinstance(low, int) or not isinstance(high, int):
        raise UserError(f"data.degrade: {option}={value}: expected odd sizes of the kernel")
    return [low, high]


def draw_odd(rng: np.random.Generator, size: Sequence[int]) -> int:
    """Draw an odd number in the range `size`."""
    return 2 * int(rng.integers(size[0] // 2, size[1] // 2 + 1)) + 1
