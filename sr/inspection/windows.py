"""Find candidates for leaks: a perceptual hash of every square window of an image, so that a crop matches its own place.

The hash has 64 signs, as ImageHash's `phash`: of the lowest frequencies of the window's cosine transform (DCT-II), against
their median. `phash` resizes a window to 32×32 first; here the cosines are integrated over the pixels of the image, which
is two small matrix products for all windows of one size. Of the windows of photographs 78 % have the same signs by both, and
99 % differ by two at most. A match is only a candidate; `sr.inspection.register` decides on pixels.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

HASH_SIDE = 8  # frequencies along a side
# Of 476 crops of 50–60 %, at half or 1.5 times the size, as JPEG 50, none had more signs that differ.
MAX_HASH_DISTANCE = 10
HASHED_SIDE = 128  # pixels of the longer side of the copy that is hashed
DENSE_SIDES = tuple(0.92**k for k in range(11))  # sides of windows, in shorter sides of the image: 1 … 0.43
PROBE_SIDES = (1.0, 0.7)
DENSE_STEP, PROBE_STEP = 0.1, 0.34  # between neighboring windows, in their own sides
MIN_CONTRAST = 4.0  # gray levels of standard deviation: the hash of a flatter window is noise


class Grid(NamedTuple):
    """Windows of one size: one for each pair of a left and an upper edge, row by row, in pixels."""

    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    side: float

    @property
    def boxes(self) -> np.ndarray:
        """Left, top, right, bottom of each window, `[N, 4]`."""
        y, x = (edges.ravel() for edges in np.meshgrid(self.tops, self.lefts, indexing="ij"))
        return np.stack([x, y, x + self.side, y + self.side], axis=1)


class WindowMatch(NamedTuple):
    """One window in each of two images that have similar hashes; boxes are left, top, right, bottom in their pixels."""

    index: int  # of the image in the gallery
    mirrored: bool
    box: np.ndarray  # in the query image; if `mirrored`, in its mirror image
    other: np.ndarray  # in the gallery's image


class WindowHashes:
    """The hashed windows of one small gray image (mode L): a dense grid of many sizes, and a few probes, also mirrored.

    The probes of one image are compared with the dense windows of another: either image may be a crop of the other.
    """

    def __init__(self, image: Image.Image) -> None:
        factor = HASHED_SIDE / max(image.size)
        size = tuple(max(8, round(n * factor)) for n in image.size)
        self.width = image.width
        unit = np.array([image.width / size[0], image.height / size[1]] * 2)
        image = image.resize(size, Image.Resampling.LANCZOS)
        dense = list_squares(*size, DENSE_SIDES, DENSE_STEP)
        probes = list_squares(*size, PROBE_SIDES, PROBE_STEP)
        boxes, self.dense = hash_windows(image, dense)
        self.dense_boxes = boxes * unit
        self.probes, self.probe_boxes = [], []
        for view in (image, ImageOps.mirror(image)):
            boxes, signs = hash_windows(view, probes)
            self.probes.append(signs)
            self.probe_boxes.append(boxes * unit)


class Gallery:
    """Hashed images in which others are searched; about 0.5 MB each."""

    def __init__(self, members: Sequence[WindowHashes]) -> None:
        self.members = list(members)
        self._dense = _HashTable([m.dense for m in self.members])
        self._probes = [_HashTable([m.probes[mirrored] for m in self.members]) for mirrored in (False, True)]

    def find_candidates(self, query: WindowHashes) -> dict[int, list[WindowMatch]]:
        """Return, for the index of every member that may show a part of `query`, the matching windows, closest first."""
        candidates: dict[int, list[tuple[float, WindowMatch]]] = {}
        for mirrored in (False, True):
            for agreement, index, i, j in self._dense.find_closest(query.probes[mirrored]):
                match = WindowMatch(index, mirrored, query.probe_boxes[mirrored][j], self.members[index].dense_boxes[i])
                candidates.setdefault(index, []).append((agreement, match))
            for agreement, index, i, j in self._probes[mirrored].find_closest(query.dense):
                box, other = query.dense_boxes[j], self.members[index].probe_boxes[mirrored][i]
                if mirrored:  # the member was mirrored, and `query` was not
                    box, other = _mirror_box(box, query.width), _mirror_box(other, self.members[index].width)
                candidates.setdefault(index, []).append((agreement, WindowMatch(index, mirrored, box, other)))
        return {
            index: [match for _, match in sorted(matches, key=lambda pair: -pair[0])]
            for index, matches in candidates.items()
        }


class _HashTable:
    """The hashes of all members in one matrix, so that one product compares them all."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.signs = np.concatenate(parts) if parts else np.zeros((0, HASH_SIDE * HASH_SIDE), np.float32)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    def find_closest(self, signs: np.ndarray) -> list[tuple[float, int, int, int]]:
        """Return (agreement, member, its window, window of `signs`) for each member that is close enough."""
        agreement = self.signs @ signs.T  # of ±1: 64 − 2·distance
        rows, columns = np.nonzero(agreement >= HASH_SIDE * HASH_SIDE - 2 * MAX_HASH_DISTANCE)
        members = np.searchsorted(self.starts, rows, side="right") - 1
        best: dict[int, tuple[float, int, int, int]] = {}
        for member, row, column in zip(members.tolist(), rows.tolist(), columns.tolist(), strict=True):
            value = float(agreement[row, column])
            if member not in best or value > best[member][0]:
                best[member] = value, member, row - int(self.starts[member]), column
        return list(best.values())


def _mirror_box(box: np.ndarray, width: float) -> np.ndarray:
    return np.array([width - box[2], box[1], width - box[0], box[3]])


def list_squares(width: int, height: int, sides: Sequence[float], step: float) -> list[Grid]:
    """List squares of all `sides`, evenly from edge to edge, at most `step` of their side apart."""
    grids = []
    for part in sides:
        side = part * min(width, height)
        lefts, tops = (np.linspace(0, n - side, 1 + int(np.ceil((n - side) / (side * step) - 1e-6)))
                       for n in (width, height))  # fmt: skip
        grids.append(Grid(tuple(lefts.tolist()), tuple(tops.tolist()), side))
    return grids


def hash_windows(image: Image.Image, grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """Hash the windows that are not flat: their boxes `[N, 4]`, and their signs, `[N, 64]` of ±1."""
    pixels = np.asarray(image, dtype=np.float32) - 128  # small numbers: float32 is exact enough
    squares = pixels**2
    height, width = pixels.shape
    boxes, coefficients = [], []
    for grid in grids:
        rows, columns = compute_cosines(grid.tops, grid.side, height), compute_cosines(grid.lefts, grid.side, width)
        lowest = rows.reshape(-1, height) @ pixels @ columns.reshape(-1, width).T
        lowest = lowest.reshape(len(rows), HASH_SIDE, len(columns), HASH_SIDE).swapaxes(1, 2)  # [rows, columns, 8, 8]
        mean = lowest[:, :, 0, 0]
        has_contrast = rows[:, 0] @ squares @ columns[:, 0].T - mean**2 >= MIN_CONTRAST**2
        mean += 128  # among the signs, the mean counts as above the median, as in `phash`
        boxes.append(grid.boxes[has_contrast.ravel()])
        coefficients.append(lowest[has_contrast].reshape(-1, HASH_SIDE * HASH_SIDE))
    values = np.concatenate(coefficients)
    bits = values > np.median(values, axis=1, keepdims=True)
    return np.concatenate(boxes), np.where(bits, np.float32(1), np.float32(-1))


@lru_cache(1024)
def compute_cosines(starts: tuple[float, ...], side: float, size: int) -> np.ndarray:
    """Return the mean of the lowest cosines of a window over each pixel of a line of `size`, times the pixel's share of it.

    float32 `[windows, 8, size]`, for the windows of length `side` that begin at `starts`. Frequency 0 computes the mean.
    """
    edges = (
        np.clip(np.arange(size + 1) - np.array(starts)[:, None], 0, side)[:, None] / side
    )  # [windows, 1, size + 1], 0…1
    frequency = np.pi * np.arange(HASH_SIDE)[:, None]
    integral = np.where(frequency > 0, np.sin(frequency * edges) / np.maximum(frequency, 1), edges)
    return np.diff(integral).astype(np.float32)
