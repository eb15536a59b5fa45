"""MATLAB's bicubic `imresize` on tensors of any device, as two small matrix products.

Keys' cubic kernel with a = -0.5 (Keys, "Cubic convolution interpolation", 1981, eq. 15), widened by 1/scale when the
image is reduced (antialiasing), with mirrored or replicated borders; uint8 and uint16 are rounded after *each* 1-D pass,
as MATLAB does.
"""

import contextlib
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_exporting

from sr.image.levels import WHITE
from sr.image.resize_graph import upscale_by_taps
from sr.runtime.error import UserError
from sr.runtime.parallel import use_one_thread
from sr.runtime.precision import is_full_precision

Border = Literal["mirror", "replicate"]

ROWS_PER_BLOCK = 16  # of the resizing matrix
PIXELS_PER_CHUNK = 1 << 19  # resized at a time on a CPU: 2 MB in float32


class Pass(NamedTuple):
    """One 1-D pass of a resize: everything that its matrix depends on."""

    n_in: int
    n_out: int
    scale: float
    antialias: bool
    border: Border
    start: int = 0  # the first pixel that is computed
    stop: int | None = None  # the end of those that are computed; None: all
    first: int = 0  # the number of the first pixel of the input that is there


def imresize(
    image: Tensor,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
    border: Border = "mirror",
) -> Tensor:
    """Resize `image` `[..., H, W]` by `scale` (output `ceil(scale·H)`, `ceil(scale·W)`) or to `size` `(H', W')`.

    uint8 gives uint8, and uint16 uint16, rounded and clipped after each pass; a float gives the same float, unclipped and
    differentiable.
    The dimension with the smaller factor is resized first, as in MATLAB.
    """
    if border not in ("mirror", "replicate"):
        raise UserError(f"border={border}: expected mirror or replicate")
    if (scale is None) == (size is None):
        raise UserError("imresize: expected either scale= or size=, not both")
    if is_exporting() and isinstance(scale, int) and border == "mirror":
        return _upscale_in_graph(image, scale)
    in_size = image.shape[-2:]
    factors = (scale, scale) if scale else (size[0] / in_size[0], size[1] / in_size[1])
    out_size = size or tuple(math.ceil(scale * n) for n in in_size)
    axes = (-2, -1) if factors[0] <= factors[1] else (-1, -2)
    if image.is_meta:  # a meta tensor has only a shape
        return image.new_empty(*image.shape[:-2], *out_size)
    passes = [(axis, Pass(in_size[axis], out_size[axis], factors[axis], antialias, border)) for axis in axes]
    # Inside a net that is trained, switching to one thread and back costs more than it saves.
    threads = contextlib.nullcontext() if torch.is_grad_enabled() else use_one_thread(image.device)
    with torch.autocast(image.device.type, enabled=False), threads:  # no mixed precision in the baseline
        return _resize_levels(image, passes) if image.dtype in WHITE else _resize_float(image, passes)


def imresize_rows(image: Tensor, first: int, height: int, size: tuple[int, int], rows: range) -> Tensor:
    """Return some rows of `imresize(whole, size=size)`, of which only the rows that they depend on are there.

    Args:
        image: `[..., h, W]`, the rows `first` … `first + h - 1` of the whole image. They contain `find_input_rows`.
        first: the number of the first of these rows.
        height: of the whole image.
        size: `(H', W')` of the whole result.
        rows: those that are returned, of the result.
    """
    vertical = Pass(height, size[0], size[0] / height, True, "mirror", rows.start, rows.stop, first)
    horizontal = Pass(image.shape[-1], size[1], size[1] / image.shape[-1], True, "mirror")
    passes = [(-2, vertical), (-1, horizontal)]
    passes = passes if vertical.scale <= horizontal.scale else passes[::-1]
    with torch.autocast(image.device.type, enabled=False):
        return _resize_levels(image, passes) if image.dtype in WHITE else _resize_float(image, passes)


def find_input_rows(height: int, out_height: int, rows: range) -> range:
    """Return the rows of an image of `height` that some rows of its resized version depend on."""
    index, _ = _compute_taps(Pass(height, out_height, out_height / height, True, "mirror", rows.start, rows.stop))
    return range(int(index.min()), int(index.max()) + 1)


def upscale_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Upscale 8-bit LR, given as float in 0…1, as MATLAB upscales uint8, the baseline of all tables; -> float in 0…1.

    float64 is an LR that was not rounded to 8 bits, and is not rounded here either (`sr.image.batch.Pair`).
    """
    if lr.dtype == torch.float64:
        return imresize(lr, scale)
    levels = (lr * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return imresize(levels, scale).to(lr.dtype) / 255


def _upscale_in_graph(image: Tensor, scale: int) -> Tensor:
    """Upscale for a graph that `torch.export` traces: float64 where levels are rounded, as they are otherwise."""
    if image.dtype not in WHITE:
        return upscale_by_taps(image, scale)
    return upscale_by_taps(image.double(), scale, WHITE[image.dtype]).to(image.dtype)


def _resize_levels(image: Tensor, passes: list[tuple[int, Pass]]) -> Tensor:
    """Round half up after each pass (a cast to levels truncates). On a CPU, resize a few planes `[H, W]` at a time."""
    planes = image.reshape(-1, *image.shape[-2:])
    count = max(1, PIXELS_PER_CHUNK // planes[0].numel()) if image.device.type == "cpu" else len(planes)
    may_be_exact = image.dtype == torch.uint8 and is_full_precision(image.device)
    highest = WHITE[image.dtype] + 0.5
    resized = []
    for chunk in planes.split(count):
        levels = chunk
        for axis, one_pass in passes:
            exact = levels.to(_find_exact_dtype(one_pass) if may_be_exact else torch.float64)
            levels = _apply_pass(axis, one_pass, exact).add_(0.5).clamp_(0, highest).to(image.dtype)
        resized.append(levels)
    out = torch.cat(resized)
    return out.view(*image.shape[:-2], *out.shape[-2:])


def _resize_float(image: Tensor, passes: list[tuple[int, Pass]]) -> Tensor:
    out = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    for axis, one_pass in passes:
        out = _apply_pass(axis, one_pass, out)
    return out.to(image.dtype)


def _apply_pass(axis: int, one_pass: Pass, image: Tensor) -> Tensor:
    """Resize `image` along `axis`, -2 or -1, unrounded."""
    blocks = _build_blocks(one_pass, image.dtype, image.device)
    if axis == -2:
        return torch.cat([torch.matmul(block, image[..., taps, :]) for block, taps in blocks], dim=-2)
    return torch.cat([torch.matmul(image[..., taps], block.T) for block, taps in blocks], dim=-1)


@lru_cache(maxsize=256)
def _find_exact_dtype(one_pass: Pass) -> torch.dtype:
    """Return float32 where it is exact: 8-bit levels times weights of at most 15 binary digits (×2, ×4, 1/2, 1/4)."""
    is_exact = all(torch.equal(rows * 2**15, (rows * 2**15).round()) for rows, _ in _compute_blocks(one_pass))
    return torch.float32 if is_exact else torch.float64


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # cached in validation, used with gradients later
def _build_blocks(one_pass: Pass, dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, slice]]:
    """Return the matrix in blocks of rows, each with the slice of the input outside which its weights are zero."""
    blocks = []
    for exact_rows, first in _compute_blocks(one_pass):
        rows = exact_rows.to(dtype)
        columns = rows.any(dim=0).nonzero()
        start, end = int(columns.min()), int(columns.max()) + 1
        blocks.append((rows[:, start:end].clone().to(device), slice(first + start, first + end)))
    return blocks


def _compute_blocks(one_pass: Pass) -> Iterator[tuple[Tensor, int]]:
    """Yield the 1-D resize as blocks of rows of its matrix `[n_out, n_in]`, float64, whose rows sum to one.

    A block holds the columns that its taps use, with the number of the first of them: the whole matrix of a side of
    20,000 pixels would need gigabytes, nearly all zeros.
    """
    index, weight = _compute_taps(one_pass)
    lowest, highest = index.amin(dim=1).tolist(), index.amax(dim=1).tolist()
    for start in range(0, len(index), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        first, end = min(lowest[rows]), max(highest[rows]) + 1
        block = weight.new_zeros(len(lowest[rows]), end - first)
        yield block.scatter_add_(1, index[rows] - first, weight[rows]), first - one_pass.first


def _compute_taps(one_pass: Pass) -> tuple[Tensor, Tensor]:
    """Return the input pixels of each output pixel, in 0…n_in - 1, and their weights, float64: both `[n, P]`."""
    n_in, n_out, scale, antialias, border, start, stop, _ = one_pass
    shrink = min(scale, 1.0) if antialias else 1.0
    width = 4 / shrink
    pixels = torch.arange(start + 1, (n_out if stop is None else stop) + 1, dtype=torch.float64)
    center = pixels / scale + 0.5 * (1 - 1 / scale)  # 1-based, as MATLAB
    first = torch.floor(center - width / 2)
    taps = first[:, None] + torch.arange(math.ceil(width) + 2, dtype=torch.float64)  # [n, P]
    weight = shrink * _evaluate_cubic(shrink * (center[:, None] - taps))
    weight = weight / weight.sum(dim=1, keepdim=True)
    index = (taps - 1).long()
    if border == "mirror":  # …2 1 | 1 2 … n | n n-1…
        index = index % (2 * n_in)
        index = torch.where(index < n_in, index, 2 * n_in - 1 - index)
    else:
        index = index.clamp(0, n_in - 1)
    return index, weight


def _evaluate_cubic(x: Tensor) -> Tensor:
    """Keys' kernel, eq. 15: zero beyond |x| = 2."""
    a, b = x.abs(), x.abs() ** 2
    inner = 1.5 * a * b - 2.5 * b + 1
    outer = -0.5 * a * b + 2.5 * b - 4 * a + 2
    return torch.where(a <= 1, inner, torch.where(a <= 2, outer, torch.zeros_like(a)))
