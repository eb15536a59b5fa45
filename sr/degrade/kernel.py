"""Blur kernels as Real-ESRGAN and BSRGAN draw them: `[n, n]`, float64, summing to one.

With q = xᵀ Σ⁻¹ x: Gaussian exp(-q/2), generalised Gaussian exp(-q^β/2) (Wang et al., "Real-ESRGAN", 2021, eq. 2),
plateau 1 / (1 + q^β) (ibid., sec. 3.1), and the circular low-pass ω J₁(ωr) / (2πr), whose cut makes the ringing of
sharpened pictures (ibid., eq. 6).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")


def bell(kind: str, n: int, sigma: tuple[float, float], angle: float, beta: float) -> Tensor:
    """A kernel of a Gaussian's kin; `sigma` in pixels along its two axes, `angle` of the first in radians.

    The isotropic ones take `sigma[0]` alone, and plain Gaussians no `beta`.
    """
    x, y = _grid(n)
    wide, high = sigma if kind.endswith("aniso") else (sigma[0], sigma[0])
    c, s = math.cos(angle), math.sin(angle)
    q = ((c * x + s * y) / wide) ** 2 + ((c * y - s * x) / high) ** 2
    if kind.startswith("plateau"):
        kernel = 1 / (1 + q**beta)
    else:
        kernel = torch.exp(-0.5 * (q**beta if kind.startswith("generalized") else q))
    return kernel / kernel.sum()


def sinc(n: int, cutoff: float) -> Tensor:
    """The low-pass that lets through what is below `cutoff` (radians a pixel, up to π) in every direction."""
    x, y = _grid(n)
    r = (x**2 + y**2).sqrt()
    kernel = torch.where(
        r == 0, cutoff**2 / (4 * math.pi), cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)
    )
    return kernel / kernel.sum()


@lru_cache
def _grid(n: int) -> tuple[Tensor, Tensor]:
    along = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return along[None, :].expand(n, n), along[:, None].expand(n, n)
