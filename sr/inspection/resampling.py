"""Resize a grid of windows of one gray image at once, to the pixels of `PIL.Image.resize(…, LANCZOS, box=…)` (Pillow 13).

Pillow resizes one axis, rounds to 8 bits, and then resizes the other one. The windows of a column share the first step,
those of a row a matrix product of the second. Weights are integers of 22 bits, as Pillow's, so that all sums are exact in
float64.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

SUPPORT = 3.0  # of the Lanczos filter, to each side, in pixels of the smaller image
PRECISION = 2.0**22  # Pillow's unit of weights, for 8-bit images


class Grid(NamedTuple):
    """Windows of one size: one for each pair of a left and an upper edge, row by row, in pixels."""

    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    side: float

    @property
    def boxes(self) -> np.ndarray:
        """Left, top, right, bottom of each window, `[N, 4]`."""
        return np.array([(x, y, x + self.side, y + self.side) for y in self.tops for x in self.lefts])


class Weights(NamedTuple):
    """Weights that make `n` pixels of the pixels `start`, `start + 1`, … of a line."""

    start: int
    matrix: np.ndarray  # float64 [n, taps], rows sum to 1


def resize_windows(pixels: np.ndarray, grid: Grid, side: int) -> np.ndarray:
    """Resize the windows of `grid` in `pixels`, float64 `[H, W]` of 0…255, to `side`×`side`.

    Return `[rows, side, columns, side]`: the row and column of the window, and in each window its pixels.
    """
    height, width = pixels.shape
    if height > 2 * width - side:  # Pillow begins with the longer axis
        return _resize(pixels.T, grid.tops, grid.lefts, grid.side, side).transpose(2, 3, 0, 1)
    return _resize(pixels, grid.lefts, grid.tops, grid.side, side)


def _resize(
    pixels: np.ndarray, lefts: tuple[float, ...], tops: tuple[float, ...], extent: float, side: int
) -> np.ndarray:
    height, width = pixels.shape
    narrow = np.empty((height, len(lefts) * side))
    for k, left in enumerate(lefts):
        start, matrix = compute_weights(left, left + extent, width, side)
        narrow[:, k * side : (k + 1) * side] = pixels[:, start : start + matrix.shape[1]] @ matrix.T
    _round(narrow)
    small = np.empty((len(tops), side, len(lefts) * side))
    for k, top in enumerate(tops):
        start, matrix = compute_weights(top, top + extent, height, side)
        np.matmul(matrix, narrow[start : start + matrix.shape[1]], out=small[k])
    return _round(small).reshape(len(tops), side, len(lefts), side)


def _round(values: np.ndarray) -> np.ndarray:
    """Round half up to a level, in place."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, 0, 255, out=values)


@lru_cache(4096)
def compute_weights(first: float, last: float, size: int, count: int) -> Weights:
    """Return the weights that resize what is between the edges `first` and `last` in a line of `size` pixels to `count`."""
    edges = np.float32(first), np.float32(last)  # the precision of a box in Pillow
    scale = float(edges[1] - edges[0]) / count
    stretch = max(1.0, scale)  # the filter is widened for a reduction only
    centers = float(edges[0]) + (np.arange(count) + 0.5) * scale
    begin = np.maximum(0, np.trunc(centers - SUPPORT * stretch + 0.5))[:, None]
    end = np.minimum(size, np.trunc(centers + SUPPORT * stretch + 0.5))[:, None]
    start = int(begin.min())
    position = np.arange(start, int(end.max()))
    distance = (position - centers[:, None] + 0.5) / stretch
    inside = (position >= begin) & (position < end) & (distance >= -SUPPORT) & (distance < SUPPORT)
    weights = np.where(inside, np.sinc(distance) * np.sinc(distance / SUPPORT), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return Weights(start, np.trunc(weights * PRECISION + np.copysign(0.5, weights)) / PRECISION)
