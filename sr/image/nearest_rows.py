"""Resize a mask whose rows come from top to bottom by its nearest sample; only the rows that are still needed are stored."""

import torch
from torch import Tensor


class NearestRows:
    """Resizes a mask of `in_size` to `size`: a sample of the result is that of the source in which its center lies."""

    def __init__(self, in_size: tuple[int, int], size: tuple[int, int]) -> None:
        self.in_height, self.height = in_size[0], size[0]
        self._columns = find_nearest(range(size[1]), in_size[1], size[1])
        self._rows: Tensor | None = None  # [C, n, w], those that are still needed
        self._first = 0  # the number of the first of them
        self._done = 0  # rows of the result that were returned

    def push(self, rows: Tensor, first: int) -> None:
        """Append rows `[C, n, w]` of the source, the first of which has the number `first`; some may be known already."""
        if self._rows is None:
            self._rows, self._first = rows, first
            return
        known = self._first + self._rows.shape[1]
        if first + rows.shape[1] > known:
            self._rows = torch.cat([self._rows, rows[:, known - first :]], dim=1)

    def take(self, count: int) -> Tensor:
        """Return the next `count` rows of the result, `[C, count, W]`."""
        wanted = find_nearest(range(self._done, self._done + count), self.in_height, self.height)
        self._done += count
        result = self._rows[:, wanted - self._first][:, :, self._columns]
        if self._done < self.height:
            needed = int(find_nearest(range(self._done, self._done + 1), self.in_height, self.height)[0])
            last = self._first + self._rows.shape[1]
            needed = min(needed, last)
            self._rows, self._first = self._rows[:, needed - self._first :].clone(), needed
        return result


def find_nearest(wanted: range, in_length: int, length: int) -> Tensor:
    """Return the numbers of the samples of `in_length` in which the centers of the `wanted` ones of `length` lie."""
    return (2 * torch.arange(wanted.start, wanted.stop) + 1) * in_length // (2 * length)
