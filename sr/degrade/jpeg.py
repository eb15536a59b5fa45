"""JPEG, batched and differentiable: what libjpeg makes of a picture and back, without the bits between.

As Pillow and OpenCV call it: Y'CbCr (JFIF, full range), chroma halved (4:2:0), DCT of 8×8, the tables of the standard
(ITU-T T.81, Annex K) scaled by quality as the IJG does, and chroma enlarged by libjpeg's triangle ("fancy upsampling").
Every rounding that libjpeg does is done; its gradient is that of no rounding at all (straight through).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.op import Images, Op, Size, canvas, cut, span
from sr.runtime.error import UserError

# T.81 tables K.1 and K.2, row by row
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *(99,) * 32,
)  # fmt: skip
# JFIF 1.02: full-range Y'CbCr of RGB, and back
_FORWARD = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_BACK = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
WIDE = 16  # pixels of a row that are transformed together


class Jpeg(Op):
    """Compressed and decompressed at a quality within `quality` (1…100, as in Pillow)."""

    def __init__(self, probability: float = 1.0, quality: Sequence[int] = (30, 95)) -> None:
        super().__init__(probability)
        self.quality = whole_quality("Jpeg.quality", quality)

    def draw(self, chance: np.random.Generator) -> int:
        return int(chance.integers(self.quality[0], self.quality[1] + 1))

    def forward(self, images: Images, draws: Sequence[int], lr: Size) -> Images:
        return jpeg(images, draws)


class Blocking(Op):
    """What is left of a picture that was compressed several times, as frames of a video are: `rounds` of JPEG at
    `quality`, each with its grid of blocks moved by up to 7 pixels, as motion compensation moves the last frame's.
    """

    def __init__(
        self, probability: float = 1.0, quality: Sequence[int] = (20, 60), rounds: Sequence[int] = (2, 4)
    ) -> None:
        super().__init__(probability)
        self.quality, self.rounds = whole_quality("Blocking.quality", quality), span("Blocking.rounds", rounds, 1, 20)

    def draw(self, chance: np.random.Generator) -> list[tuple[int, int, int]]:
        """For each round: quality, rows and columns that the grid is moved by."""
        rounds = int(chance.integers(self.rounds[0], self.rounds[1] + 1))
        quality = chance.integers(self.quality[0], self.quality[1] + 1, rounds)
        return [(int(q), *map(int, chance.integers(0, 8, 2))) for q in quality]

    def forward(self, images: Images, draws: Sequence[list[tuple[int, int, int]]], lr: Size) -> Images:
        images = list(images)
        for turn in range(max(map(len, draws))):
            who = [k for k, rounds in enumerate(draws) if turn < len(rounds)]
            now = [draws[k][turn] for k in who]
            moved = [F.pad(images[k], (x, 0, y, 0), mode="replicate") for k, (_, y, x) in zip(who, now, strict=True)]
            done = jpeg(moved, [quality for quality, _, _ in now])
            for k, (_, y, x), image in zip(who, now, done, strict=True):
                images[k] = image[:, y:, x:]
        return images


def jpeg(images: Images, quality: Sequence[int]) -> Images:
    """Each image `[1 or 3, h, w]`, 0…1, through JPEG of its own quality: -> the same, in 8-bit levels / 255."""
    channels = len(images[0])
    if channels not in (1, 3):
        raise UserError(f"data.degrade: JPEG is of 1 or 3 channels, not of {channels}")
    levels = _rounded((canvas([_to_units(image) for image in images]) * 255).clamp_(0, 255))
    luma, chroma = (torch.stack([_table(q, which) for q in quality]).to(levels.device) for which in (_LUMA, _CHROMA))
    if channels == 1:
        return cut(_coded(levels.sub_(128), luma).add_(128).div_(255), images)
    ycc = _mixed(levels, _FORWARD)  # less 128 for Y, too
    bright = _coded(_rounded(ycc[:, :1]).sub_(128), luma).add_(128)
    small = _coded(_halved(_rounded(ycc[:, 1:])), chroma)
    color = _doubled(small, [image.shape[-2:] for image in images], bright.shape[-2:])
    rgb = _rounded(_mixed(torch.cat([bright, color], dim=1), _BACK)).clamp_(0, 255)
    return cut(rgb.div_(255), images)


def _rounded(x: Tensor) -> Tensor:
    """To whole numbers; uses `x` up."""
    return x + (x.detach().round() - x.detach()) if x.requires_grad else x.round_()


def _floored(x: Tensor) -> Tensor:
    return x + (x.detach().floor() - x.detach()) if x.requires_grad else x.floor_()


def _to_units(image: Tensor) -> Tensor:
    """The last row and column repeated: down to whole units of 16 pixels, to the right to two of them."""
    h, w = image.shape[-2:]
    right, below = -w % (2 * WIDE), -h % 16
    return F.pad(image, (0, right, 0, below), mode="replicate") if right or below else image


def _mixed(image: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.matmul(_constant(rows, image.device), image.flatten(2)).view(image.shape)


def _halved(chroma: Tensor) -> Tensor:
    """The mean of each 2×2, half a level down and up in turns from column to column, as libjpeg does."""
    rows = chroma[..., ::2, :] + chroma[..., 1::2, :]
    halves = rows[..., ::2] + rows[..., 1::2]
    halves.unflatten(-1, (-1, 2)).add_(_constant((1.0, 2.0), chroma.device))
    return _floored(halves.div_(4))


def _doubled(chroma: Tensor, sizes: Sequence[Size], whole: Size) -> Tensor:
    """Twice as large: each new pixel is 9, 3, 3 and 1 sixteenths of the four around it, rounded down and up in turns.

    `sizes` are the images', `whole` is the canvas's. Levels are whole, so bilinear weights make no error."""
    sizes = [(-(-h // 2), -(-w // 2)) for h, w in sizes]
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    for k, (h, w) in enumerate(sizes):  # beyond an image stands its edge, not what its blocks hold
        if w < width:
            chroma[k, :, :, w] = chroma[k, :, :, w - 1]
        if h < height:
            chroma[k, :, h] = chroma[k, :, h - 1]
    x = F.interpolate(chroma[..., :height, :width], scale_factor=2, mode="bilinear")
    x.unflatten(-1, (-1, 2)).add_(_constant((8 / 16, 7 / 16), x.device))
    x = _floored(x)
    return x if x.shape[-2:] == whole else F.pad(x, (0, whole[1] - x.shape[-1], 0, whole[0] - x.shape[-2]))


def _coded(plane: Tensor, table: Tensor) -> Tensor:
    """Levels -128…127 `[B, C, H, W]` through the DCT of 8×8 blocks, rounded to steps of `table` `[B, 8, 8]`, and back."""
    b, c, height, width = plane.shape
    down, along = _dct(plane.device)
    step = table[:, :, None].expand(b, 8, width // 8, 8).reshape(b, 1, 1, 8, width)
    rows = torch.matmul(down, plane.view(b, c, height // 8, 8, width))
    both = torch.matmul(rows.view(-1, WIDE), along.T).view(rows.shape)
    both = both.add(both.detach().sign(), alpha=1 / 16)  # libjpeg first rounds to eighths, then halves upwards
    both = _rounded(both.div_(step)).mul_(step)
    rows = torch.matmul(down.T, torch.matmul(both.view(-1, WIDE), along).view(rows.shape))
    return _rounded(rows).clamp_(-128, 127).view(plane.shape)


@lru_cache
@torch.inference_mode(False)  # what validation made first must serve a gradient later
def _dct(device: torch.device) -> tuple[Tensor, Tensor]:
    """The orthonormal DCT-II, `[frequency, place]`, and two of them side by side: wider products take half the time."""
    place, frequency = torch.arange(8, dtype=torch.float64), torch.arange(8, dtype=torch.float64)[:, None]
    matrix = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    matrix = matrix.float().to(device)
    return matrix, torch.block_diag(matrix, matrix)


@lru_cache
@torch.inference_mode(False)
def _constant(values: Sequence, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _table(quality: int, standard: Sequence[int]) -> Tensor:
    """The quantisation steps `[8, 8]` at an IJG quality of 1…100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(255.0, max(1.0, (step * scale + 50) // 100)) for step in standard]).view(8, 8)


def whole_quality(dial: str, value: Sequence[int]) -> list[int]:
    low, high = span(dial, value, 1, 100)
    if low != int(low) or high != int(high):
        raise UserError(f"data.degrade: {dial}={value}: expected whole numbers")
    return [int(low), int(high)]
