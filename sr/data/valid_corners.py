"""Find where patches without a pixel that is no data can be cut out of an image."""

import numpy as np


class ValidCorners:
    """The corners of the patches of an image in which all pixels are data, and none within `margin` pixels is none.

    `valid` is bool `[H, W]`; corners are multiples of `scale`, and `side` is that of a patch, all in HR pixels.
    """

    def __init__(self, valid: np.ndarray, side: int, scale: int, margin: int) -> None:
        h, w = valid.shape
        sums = np.pad((~valid).cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0)))  # [H + 1, W + 1]
        rows, columns = (np.arange(0, n - side + 1, scale) for n in (h, w))
        top, left = (np.maximum(corner - margin, 0) for corner in (rows, columns))
        bottom, right = np.minimum(rows + side + margin, h), np.minimum(columns + side + margin, w)
        count = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        self._is_corner = count == 0  # [rows, columns], in LR pixels
        self._totals = self._is_corner.sum(axis=1).cumsum()  # of the corners up to each row

    def __len__(self) -> int:
        return int(self._totals[-1]) if len(self._totals) else 0

    def find(self, place: np.ndarray) -> tuple[int, int]:
        """Return a corner (row, column) in LR pixels, each with the same probability if `place` `[2]` is uniform in 0…1."""
        row = int(np.searchsorted(self._totals, place[0] * len(self), "right"))
        columns = np.flatnonzero(self._is_corner[row])
        return row, int(columns[int(place[1] * len(columns))])
