"""Blur kernels of Real-ESRGAN and BSRGAN: `[n, n]`, float64, summing to one.

With q = xᵀ Σ⁻¹ x: Gaussian exp(-q/2), generalized Gaussian exp(-q^β/2) (Wang et al., "Real-ESRGAN", 2021, eq. 2), plateau
1 / (1 + q^β) (ibid., sec. 3.1), and the circular low-pass ω J₁(ωr) / (2πr), whose sharp cutoff causes the ringing of
sharpened images (ibid., eq. 6).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


def create_gaussian(kind: str, n: int, sigma: tuple[float, float], angle: float, beta: float) -> Tensor:
    """Return a Gaussian, generalized Gaussian or plateau kernel.

    `sigma` is in pixels along the kernel's two axes, `angle` that of the first axis in radians. Isotropic kernels use
    `sigma[0]` only, and plain Gaussians no `beta`.
    """
    x, y = _create_grid(n)
    sigma_1, sigma_2 = sigma if kind.endswith("aniso") else (sigma[0], sigma[0])
    c, s = math.cos(angle), math.sin(angle)
    q = ((c * x + s * y) / sigma_1) ** 2 + ((c * y - s * x) / sigma_2) ** 2
    if kind.startswith("plateau"):
        kernel = 1 / (1 + q**beta)
    else:
        kernel = torch.exp(-0.5 * (q**beta if kind.startswith("generalized") else q))
    return kernel / kernel.sum()


def create_sinc(n: int, cutoff: float) -> Tensor:
    """Return the circular low-pass that passes frequencies below `cutoff` (radians per pixel, at most π)."""
    x, y = _create_grid(n)
    r = (x**2 + y**2).sqrt()
    kernel = torch.where(
        r == 0, cutoff**2 / (4 * math.pi), cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)
    )
    return kernel / kernel.sum()


@lru_cache
def _create_grid(n: int) -> tuple[Tensor, Tensor]:
    """Return x and y of each pixel, relative to the center, `[n, n]` each."""
    offsets = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return offsets[None, :].expand(n, n), offsets[:, None].expand(n, n)
