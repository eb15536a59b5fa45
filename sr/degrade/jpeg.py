"""JPEG compression and decompression, batched and differentiable, without the entropy coding between them.

As in Pillow and OpenCV: Y'CbCr (JFIF, full range), chroma subsampled (4:2:0), DCT of 8×8 blocks, the standard's
quantization tables (ITU-T T.81, Annex K) scaled by quality as the IJG does, and chroma upsampled by libjpeg's triangle
filter ("fancy upsampling"). Every rounding of libjpeg is done; its gradient is that of the identity (straight-through).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.op import Images, Op, Size, check_range, stack_padded, unstack_cropped
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction, IntRange

# T.81 tables K.1 and K.2, row by row.
LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA_TABLE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *(99,) * 32,
)  # fmt: skip
# JFIF 1.02: full-range Y'CbCr of RGB, and the inverse.
RGB_TO_YCBCR = (
    (0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411),
)  # fmt: skip
YCBCR_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
ROW_CHUNK = 16  # pixels of a row that one matrix product transforms: two blocks


class Jpeg(Op):
    """Compress and decompress at a quality in the range `quality` (1…100, as in Pillow)."""

    def __init__(self, probability: Fraction = 1.0, quality: IntRange = (30, 95)) -> None:
        super().__init__(probability)
        self.quality = check_quality("Jpeg.quality", quality)

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.quality[0], self.quality[1] + 1))

    def forward(self, images: Images, parameters: Sequence[int], lr_size: Size) -> Images:
        return compress(images, parameters)


class Blocking(Op):
    """Compress several times, like the frames of a video: the range `rounds` of JPEG passes at `quality`.

    Each pass has its block grid shifted by up to 7 pixels, as motion compensation shifts the previous frame's blocks.
    """

    def __init__(self, probability: Fraction = 1.0, quality: IntRange = (20, 60), rounds: IntRange = (2, 4)) -> None:
        super().__init__(probability)
        self.quality = check_quality("Blocking.quality", quality)
        self.rounds = check_range("Blocking.rounds", rounds, 1, 20)

    def draw(self, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        """Draw for each round its quality, and the rows and columns by which the block grid is shifted."""
        rounds = int(rng.integers(self.rounds[0], self.rounds[1] + 1))
        quality = rng.integers(self.quality[0], self.quality[1] + 1, rounds)
        return [(int(q), *map(int, rng.integers(0, 8, 2))) for q in quality]

    def forward(self, images: Images, parameters: Sequence[list[tuple[int, int, int]]], lr_size: Size) -> Images:
        images = list(images)
        for round_index in range(max(map(len, parameters))):
            selected = [k for k, rounds in enumerate(parameters) if round_index < len(rounds)]
            shifts = [parameters[k][round_index] for k in selected]
            shifted = [
                F.pad(images[k], (x, 0, y, 0), mode="replicate") for k, (_, y, x) in zip(selected, shifts, strict=True)
            ]
            compressed = compress(shifted, [quality for quality, _, _ in shifts])
            for k, (_, y, x), image in zip(selected, shifts, compressed, strict=True):
                images[k] = image[:, y:, x:]
        return images


def compress(images: Images, quality: Sequence[int]) -> Images:
    """Compress and decompress each image `[1 or 3, h, w]`, in 0…1, at its own quality: -> the same, 8-bit levels / 255."""
    channels = len(images[0])
    if channels not in (1, 3):
        raise UserError(f"data.degrade: JPEG: expected 1 or 3 channels (found {channels})")
    levels = _round((stack_padded([_pad_to_units(image) for image in images]) * 255).clamp_(0, 255))
    luma_table, chroma_table = (
        torch.stack([_build_table(q, standard) for q in quality]).to(levels.device)
        for standard in (LUMA_TABLE, CHROMA_TABLE)
    )
    if channels == 1:
        return unstack_cropped(_quantize_blocks(levels.sub_(128), luma_table).add_(128).div_(255), images)
    ycc = _mix_channels(levels, RGB_TO_YCBCR)  # chroma is centered at 0, Y is shifted below
    y = _quantize_blocks(_round(ycc[:, :1]).sub_(128), luma_table).add_(128)
    chroma = _subsample(_round(ycc[:, 1:]))
    for k, h in enumerate(-(-image.shape[-2] // 2) for image in images):
        chroma[k, :, h:] = chroma[k, :, h - 1 : h]  # libjpeg repeats the last row of chroma after it is subsampled
    chroma = _quantize_blocks(chroma, chroma_table)
    chroma = _upsample(chroma, [image.shape[-2:] for image in images], y.shape[-2:])
    rgb = _round(_mix_channels(torch.cat([y, chroma], dim=1), YCBCR_TO_RGB)).clamp_(0, 255)
    return unstack_cropped(rgb.div_(255), images)


def _round(x: Tensor) -> Tensor:
    """Round with a straight-through gradient; in place where no gradient is needed."""
    return x + (x.detach().round() - x.detach()) if x.requires_grad else x.round_()


def _floor(x: Tensor) -> Tensor:
    """Round down with a straight-through gradient; in place where no gradient is needed."""
    return x + (x.detach().floor() - x.detach()) if x.requires_grad else x.floor_()


def _pad_to_units(image: Tensor) -> Tensor:
    """Repeat the last row up to a multiple of 16 (JPEG's unit for 4:2:0), the last column to one of 32."""
    h, w = image.shape[-2:]
    right, bottom = -w % (2 * ROW_CHUNK), -h % 16
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image


def _mix_channels(image: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Multiply the channels of each pixel of `[B, 3, H, W]` by a 3×3 matrix."""
    return torch.matmul(_create_constant(matrix, image.device), image.flatten(2)).view(image.shape)


def _subsample(chroma: Tensor) -> Tensor:
    """Average each 2×2 block; halves are rounded down and up in alternate columns, as libjpeg does."""
    rows = chroma[..., ::2, :] + chroma[..., 1::2, :]
    sums = rows[..., ::2] + rows[..., 1::2]
    sums.unflatten(-1, (-1, 2)).add_(_create_constant((1.0, 2.0), chroma.device))
    return _floor(sums.div_(4))


def _upsample(chroma: Tensor, sizes: Sequence[Size], padded_size: Size) -> Tensor:
    """Upsample by 2: each pixel is 9, 3, 3 and 1 sixteenths of the nearest four, rounded down and up in alternate columns.

    `sizes` are those of the images, `padded_size` that of the batch. Levels are integers, so bilinear weights are exact.
    """
    sizes = [(-(-h // 2), -(-w // 2)) for h, w in sizes]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    for k, (h, w) in enumerate(sizes):  # beyond an image, the filter sees its last row and column repeated
        if w < width:
            chroma[k, :, :, w] = chroma[k, :, :, w - 1]
        if h < height:
            chroma[k, :, h] = chroma[k, :, h - 1]
    x = F.interpolate(chroma[..., :height, :width], scale_factor=2, mode="bilinear")
    x.unflatten(-1, (-1, 2)).add_(_create_constant((8 / 16, 7 / 16), x.device))
    x = _floor(x)
    right, bottom = padded_size[1] - x.shape[-1], padded_size[0] - x.shape[-2]
    return F.pad(x, (0, right, 0, bottom)) if right or bottom else x


def _quantize_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Transform `[B, C, H, W]`, levels -128…127, by the DCT of 8×8 blocks, quantize by `table` `[B, 8, 8]`, and invert."""
    b, c, height, width = plane.shape
    dct, dct_twice = _build_dct(plane.device)
    step = table[:, :, None].expand(b, 8, width // 8, 8).reshape(b, 1, 1, 8, width)
    # Forward DCT of the columns, then of the rows.
    columns = torch.matmul(dct, plane.view(b, c, height // 8, 8, width))
    coefficients = torch.matmul(columns.view(-1, ROW_CHUNK), dct_twice.T).view(columns.shape)
    # Quantize: libjpeg rounds to eighths first, and then halves away from zero.
    coefficients = coefficients.add(coefficients.detach().sign(), alpha=1 / 16)
    coefficients = _round(coefficients.div_(step)).mul_(step)
    # Inverse DCT.
    rows = torch.matmul(coefficients.view(-1, ROW_CHUNK), dct_twice).view(columns.shape)
    return _round(torch.matmul(dct.T, rows)).clamp_(-128, 127).view(plane.shape)


@lru_cache
@torch.inference_mode(False)  # cached in validation, used with gradients later
def _build_dct(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the orthonormal DCT-II `[frequency, position]`, and the block diagonal of two: wide products are faster."""
    position, frequency = torch.arange(8, dtype=torch.float64), torch.arange(8, dtype=torch.float64)[:, None]
    matrix = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    matrix = matrix.float().to(device)
    return matrix, torch.block_diag(matrix, matrix)


@lru_cache
@torch.inference_mode(False)
def _create_constant(values: Sequence, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _build_table(quality: int, standard: Sequence[int]) -> Tensor:
    """Return the quantization steps `[8, 8]` at an IJG quality of 1…100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(255.0, max(1.0, (step * scale + 50) // 100)) for step in standard]).view(8, 8)


def check_quality(option: str, value: Sequence[int]) -> list[int]:
    """Return `value` as a list, or raise if it is no range of integers in 1…100."""
    low, high = check_range(option, value, 1, 100)
    if low != int(low) or high != int(high):
        raise UserError(f"data.degrade: {option}={value}: expected whole numbers")
    return [int(low), int(high)]
