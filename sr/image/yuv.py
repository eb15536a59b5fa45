"""RGB to YUV and back, as the planes of a video frame hold it: matrix, range, depth, subsampled chroma and its place.

Computed in float32 and rounded once, since swscale (FFmpeg 8) makes white of 10 bits 0.4 % darker, and chroma of the full
range half a level smaller. Matrices: ITU-T H.273 (2021), table 4 and section 8.3. Chroma is resampled by Keys' cubic kernel,
which is widened where it is reduced.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

MATRICES = {  # MatrixCoefficients of H.273 -> Kr, Kb
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
ROWS = 128  # that are converted at a time; even
REACH = 6  # rows, of luma, to each side that chroma is resampled from; even


class YuvCoding(NamedTuple):
    """Describe how the numbers of the planes stand for colors."""

    matrix: int = 1  # a key of MATRICES
    is_full: bool = False  # True: luma 0…255 (of 8 bits); False: 16…235
    bits: int = 8
    subsampling: tuple[int, int] = (1, 1)  # luma rows and columns for one of chroma: 1 or 2
    is_centered: tuple[bool, bool] = (
        True,
        False,
    )  # rows, columns: chroma lies between two of luma; False: on the first one

    def find_range(self) -> tuple[float, float, float, float]:
        """Return the level of black, the levels from black to white, the level of no chroma, and the span of chroma."""
        levels = float(2**self.bits - 1)
        unit = float(2 ** (self.bits - 8))
        if self.is_full:
            return 0.0, levels, 128 * unit, levels
        return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def yuv_to_rgb(planes: list[Tensor], coding: YuvCoding) -> Iterator[Tensor]:
    """Yield blocks of rows `[3, rows, W]` of the RGB of planes `[H, W]`, `[h, w]`, `[h, w]`: float32, 0…1 where it is in gamut.

    Chroma of a block is resampled with the rows that it depends on, so that in float32 there is never more than a block.
    """
    height, width = planes[0].shape
    matrix, offset = _find_matrix(coding)
    inverse = torch.linalg.inv(matrix)
    shift, inverse = -(inverse @ offset).float()[:, None], inverse.float()
    step = coding.subsampling[0]
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        first = max(0, top - REACH) // step
        chroma = torch.stack([plane[first : -(-(bottom + REACH) // step)].float() for plane in planes[1:]])
        if step == 2:
            rows = upsample(chroma, -2, 2 * chroma.shape[-2], coding.is_centered[0])
            chroma = rows[:, top - 2 * first : bottom - 2 * first]
        else:
            chroma = chroma[:, top - first : bottom - first]
        if coding.subsampling[1] == 2:
            chroma = upsample(chroma, -1, width, coding.is_centered[1])
        yuv = torch.cat([planes[0][None, top:bottom].float(), chroma]).reshape(3, -1)
        yield torch.addmm(shift, inverse, yuv).reshape(3, -1, width)


def rgb_to_yuv(rgb: Tensor, coding: YuvCoding, white: float = 1.0) -> list[Tensor]:
    """Convert RGB `[3, H, W]` in 0…`white` to planes `[H, W]`, `[h, w]`, `[h, w]`, rounded half up and clamped.

    In float32 there is never more than a block of rows, and the rows that its chroma depends on.
    """
    matrix, offset = _find_matrix(coding)
    matrix, offset, levels = (matrix / white).float(), offset.float()[:, None], 2**coding.bits - 1
    height, step = rgb.shape[1], coding.subsampling[0]
    luma, chroma = [], []
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        first = max(0, top - REACH) if step == 2 else top
        rows = rgb[:, first : bottom + REACH if step == 2 else bottom]
        yuv = torch.addmm(offset, matrix, rows.reshape(3, -1).float()).reshape(rows.shape)
        luma.append(round_levels(yuv[0, top - first : bottom - first], levels))
        colors = downsample(yuv[1:], -1, coding.is_centered[1]) if coding.subsampling[1] == 2 else yuv[1:]
        if step == 2:
            colors = downsample(colors, -2, coding.is_centered[0])[:, (top - first) // 2 : (bottom - first + 1) // 2]
        chroma.append(round_levels(colors, levels))
    return [torch.cat(luma), *torch.cat(chroma, dim=1)]


def round_levels(values: Tensor, white: int) -> Tensor:
    """Return float levels as uint8 or uint16, rounded half up and clamped to 0…`white`."""
    return (values + 0.5).clamp_(0, white).to(torch.uint8 if white < 256 else torch.uint16)


def upsample(image: Tensor, axis: int, length: int, is_centered: bool) -> Tensor:
    """Double an axis and cut it to `length`. Sample i lies on place 2i of the result, or, centered, at 2i + 0.5."""
    count = image.shape[axis]
    shape = list(image.shape)
    shape[axis] = 2 * count
    result, padded = image.new_empty(shape), _pad(image, axis, 2, 2)
    for parity in (0, 1):
        position = parity / 2 - is_centered / 4  # of the result in samples of the image
        first, taps = _find_taps(position, 1.0)
        _select(result, axis, parity, 2, count).copy_(_sum_taps(padded, axis, taps, first + 2, 1, count))
    return result.narrow(axis, 0, length)


def downsample(image: Tensor, axis: int, is_centered: bool) -> Tensor:
    """Halve an axis, an odd one rounded up; the inverse of `upsample` in the places of samples."""
    count = (image.shape[axis] + 1) // 2
    first, taps = _find_taps(is_centered / 2, 2.0)
    padded = _pad(image, axis, 4, 6)
    return _sum_taps(padded, axis, taps, first + 4, 2, count)


def _find_matrix(coding: YuvCoding) -> tuple[Tensor, Tensor]:
    """Return matrix and offset, float64, from RGB in 0…1 to levels: H.273, equations 38 to 40."""
    kr, kb = MATRICES[coding.matrix]
    weights = torch.tensor([kr, 1 - kr - kb, kb], dtype=torch.float64)
    red, _, blue = torch.eye(3, dtype=torch.float64)
    rows = torch.stack([weights, (blue - weights) / (2 * (1 - kb)), (red - weights) / (2 * (1 - kr))])
    black, luma, neutral, chroma = coding.find_range()
    scale = torch.tensor([luma, chroma, chroma], dtype=torch.float64)
    return rows * scale[:, None], torch.tensor([black, neutral, neutral], dtype=torch.float64)


@lru_cache(maxsize=16)
def _find_taps(position: float, width: float) -> tuple[int, tuple[float, ...]]:
    """Return the first sample and the weights of Keys' kernel (a = -0.5), `width` times as wide, around a position."""
    places = [k for k in range(-8, 9) if abs(k - position) < 2 * width]
    weights = [_evaluate_kernel(abs(k - position) / width) for k in places]
    used = [k for k, weight in zip(places, weights, strict=True) if weight]
    weights = weights[used[0] - places[0] : used[-1] - places[0] + 1]
    return used[0], tuple(weight / sum(weights) for weight in weights)


def _evaluate_kernel(x: float) -> float:
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _pad(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Repeat the first and the last sample of an axis."""
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, image.shape[axis] - 1, 1)
    return torch.cat([first] * before + [image] + [last] * after, dim=axis)


def _sum_taps(padded: Tensor, axis: int, taps: tuple[float, ...], start: int, step: int, count: int) -> Tensor:
    total = _select(padded, axis, start, step, count) * taps[0]
    for number, weight in enumerate(taps[1:], 1):
        total.add_(_select(padded, axis, start + number, step, count), alpha=weight)
    return total


def _select(image: Tensor, axis: int, start: int, step: int, count: int) -> Tensor:
    """Return every `step`-th sample of an axis from `start` on, a view."""
    index = [slice(None)] * image.ndim
    index[axis] = slice(start, start + step * (count - 1) + 1, step)
    return image[tuple(index)]
