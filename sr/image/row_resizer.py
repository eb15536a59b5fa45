"""Resize an image whose rows come from top to bottom, and of which only the rows that are still needed are in memory."""

import math

import torch
from torch import Tensor

from sr.image.resize import ROWS_PER_BLOCK, find_input_rows, imresize_rows


class RowResizer:
    """Computes `imresize(whole, size=size)` of a whole image that is given in pieces."""

    def __init__(self, in_size: tuple[int, int], size: tuple[int, int]) -> None:
        self.in_height, self.size = in_size[0], size
        self._rows: Tensor | None = None  # those that are still needed, [..., n, W]
        self._first = 0  # the number of the first of them
        self._done = 0  # rows of the result that were returned

    def push(self, rows: Tensor) -> Tensor:
        """Append rows `[..., n, W]`, and return the next rows of the result that are complete: `[..., m, W']`, m >= 0."""
        held = rows if self._rows is None else torch.cat([self._rows, rows], dim=-2)
        stop = self._count_complete(self._first + held.shape[-2])
        wanted = range(self._done, stop)
        result = held.new_empty(*held.shape[:-2], 0, self.size[1])
        if wanted:
            result = imresize_rows(held, self._first, self.in_height, self.size, wanted)
            self._done = stop
        first = self._first
        if stop < self.size[0]:
            first = max(first, find_input_rows(self.in_height, self.size[0], range(stop, stop + 1)).start)
        self._rows, self._first = held[..., first - self._first :, :].clone(), first
        return result

    def _count_complete(self, available: int) -> int:
        """Return the number of rows of the result that depend on the first `available` rows only."""
        if available == self.in_height:
            return self.size[0]
        scale = self.size[0] / self.in_height
        complete = math.floor((available - 2 / min(scale, 1) - 4) * scale)
        # Whole blocks of the resizing matrix, as in the whole image.
        return min(max(complete // ROWS_PER_BLOCK * ROWS_PER_BLOCK, self._done), self.size[0])
