"""MATLAB's bicubic `imresize`, on tensors of any device, as two small matrix products.

Keys' cubic kernel with a = -0.5 (Keys, "Cubic convolution interpolation", 1981, eq. 15), widened by 1/scale when it
shrinks (antialiasing), borders mirrored or replicated; uint8 is rounded after *each* 1-D pass, as MATLAB does.
"""

import contextlib
import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from sr.runtime.error import UserError
from sr.runtime.parallel import use_one_thread
from sr.runtime.precision import is_full_precision

Border = Literal["mirror", "replicate"]

_ROWS = 16  # of a block of the resizing matrix
_PLANES = 1 << 19  # pixels resized at a time: 2 MB in float32


def imresize(
    image: Tensor,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
    border: Border = "mirror",
) -> Tensor:
    """`image` `[..., H, W]` resized by `scale` (output `ceil(scale·H)`, `ceil(scale·W)`) or to `size` `(H', W')`.

    uint8 gives uint8, rounded and clipped after each pass; a float gives the same float, unclipped and differentiable.
    MATLAB works through the dimension with the smaller factor first, and so does this.
    """
    if border not in ("mirror", "replicate"):
        raise UserError(f"border={border}: expected mirror or replicate")
    if (scale is None) == (size is None):
        raise UserError("imresize takes either scale= or size=, not both and not neither")
    in_size = image.shape[-2:]
    factors = (scale, scale) if scale else (size[0] / in_size[0], size[1] / in_size[1])
    out_size = size or tuple(math.ceil(scale * n) for n in in_size)
    axes = (-2, -1) if factors[0] <= factors[1] else (-1, -2)
    if image.is_meta:  # only shapes are asked for
        return image.new_empty(*image.shape[:-2], *out_size)
    passes = [(axis, (in_size[axis], out_size[axis], factors[axis], antialias, border)) for axis in axes]
    # between two layers of a net that learns, going to one thread and back costs more than it saves
    threads = contextlib.nullcontext() if torch.is_grad_enabled() else use_one_thread(image.device)
    with torch.autocast(image.device.type, enabled=False), threads:  # no mixed precision in the baseline
        return _byte_passes(image, passes) if image.dtype == torch.uint8 else _float_passes(image, passes)


def _byte_passes(image: Tensor, passes: list[tuple[int, tuple]]) -> Tensor:
    """Rounded half up after each pass: a cast to uint8 cuts off the fraction. On a CPU, a few planes at a time."""
    planes = image.reshape(-1, *image.shape[-2:])
    count = max(1, _PLANES // planes[0].numel()) if image.device.type == "cpu" else len(planes)
    short = is_full_precision(image.device)
    done = []
    for some in planes.split(count):
        for axis, shape in passes:
            exact = some.to(_exact_dtype(*shape) if short else torch.float64)
            some = _along(axis, shape, exact).add_(0.5).clamp_(0, 255.5).to(torch.uint8)  # noqa: PLW2901
        done.append(some)
    out = torch.cat(done)
    return out.view(*image.shape[:-2], *out.shape[-2:])


def _float_passes(image: Tensor, passes: list[tuple[int, tuple]]) -> Tensor:
    out = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    for axis, shape in passes:
        out = _along(axis, shape, out)
    return out.to(image.dtype)


def _along(axis: int, shape: tuple, image: Tensor) -> Tensor:
    """One 1-D pass, unrounded."""
    bands = _bands(*shape, image.dtype, image.device)
    if axis == -2:
        return torch.cat([torch.matmul(band, image[..., taps, :]) for band, taps in bands], dim=-2)
    return torch.cat([torch.matmul(image[..., taps], band.T) for band, taps in bands], dim=-1)


def upscale_bicubic(lr: Tensor, scale: int) -> Tensor:
    """The baseline of all tables: 8-bit LR, here as float 0…1, enlarged as MATLAB enlarges uint8; float 0…1 again.

    float64 is an LR that was never rounded, and stays so (`sr.image.batch.Pair`).
    """
    if lr.dtype == torch.float64:
        return imresize(lr, scale)
    levels = (lr * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return imresize(levels, scale).to(lr.dtype) / 255


def _cubic(x: Tensor) -> Tensor:
    a, b = x.abs(), x.abs() ** 2
    near = 1.5 * a * b - 2.5 * b + 1
    far = -0.5 * a * b + 2.5 * b - 4 * a + 2
    return torch.where(a <= 1, near, torch.where(a <= 2, far, torch.zeros_like(a)))


@lru_cache(maxsize=256)
def _exact_dtype(n_in: int, n_out: int, scale: float, antialias: bool, border: Border) -> torch.dtype:
    """float32 where it makes no error: 8-bit levels times weights of at most 15 binary digits (×2, ×4, 1/2, 1/4)."""
    weight = _matrix(n_in, n_out, scale, antialias, border, torch.float64, torch.device("cpu")) * 2**15
    return torch.float32 if torch.equal(weight, weight.round()) else torch.float64


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what validation made first must serve a gradient later
def _bands(
    n_in: int, n_out: int, scale: float, antialias: bool, border: Border, dtype: torch.dtype, device: torch.device
) -> list[tuple[Tensor, slice]]:
    """The matrix in blocks of rows, each with the stretch of the input that it needs: everywhere else it is zero."""
    blocks = _matrix(n_in, n_out, scale, antialias, border, dtype, torch.device("cpu")).split(_ROWS)
    stretches = []
    for block in blocks:
        used = block.any(dim=0).nonzero()
        stretches.append(slice(int(used.min()), int(used.max()) + 1))
    return [(block[:, taps].clone().to(device), taps) for block, taps in zip(blocks, stretches, strict=True)]


def _matrix(
    n_in: int, n_out: int, scale: float, antialias: bool, border: Border, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The 1-D resize as a matrix `[n_out, n_in]`, rows summing to one."""
    shrink = min(scale, 1.0) if antialias else 1.0
    width = 4 / shrink
    centre = (torch.arange(1, n_out + 1, dtype=torch.float64)) / scale + 0.5 * (1 - 1 / scale)  # 1-based, as MATLAB
    first = torch.floor(centre - width / 2)
    taps = first[:, None] + torch.arange(math.ceil(width) + 2, dtype=torch.float64)  # [n_out, P]
    weight = shrink * _cubic(shrink * (centre[:, None] - taps))
    weight = weight / weight.sum(dim=1, keepdim=True)
    index = (taps - 1).long()
    if border == "mirror":  # …2 1 | 1 2 … n | n n-1…
        index = index % (2 * n_in)
        index = torch.where(index < n_in, index, 2 * n_in - 1 - index)
    else:
        index = index.clamp(0, n_in - 1)
    matrix = torch.zeros(n_out, n_in, dtype=torch.float64).scatter_add_(1, index, weight)
    return matrix.to(dtype=dtype, device=device)
