"""The sieve for leaks: a perceptual hash of every square window of a picture, so that a crop of it meets its own place.

The hash is ImageHash's `phash` (64 signs of the lowest frequencies), here for a thousand windows in one go. What the
sieve lets through is a guess; `sr.inspection.register` decides on pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy.fft import dct

BITS, FINE = 8, 32  # of a phash: 8×8 signs, of the DCT of 32×32 pixels
CLOSE = 10  # signs that may differ. Of 476 crops of 50–60 %, at half or 1.5 times the size, as JPEG 50, none had more
SIDE = 128  # pixels of the longer side of the copy that is hashed
DENSE = tuple(0.92**k for k in range(11))  # sides of windows, in shorter sides of the picture: 1 … 0.43
PROBES = (1.0, 0.7)
STEP, PROBE_STEP = 0.1, 0.34  # between neighbouring windows, in their own sides
FLAT = 4.0  # gray levels of standard deviation: the hash of a flatter window is chance


class Guess(NamedTuple):
    """One window in each of two pictures that look alike: boxes are left, top, right, bottom in their pixels."""

    index: int  # of the picture in the gallery
    mirrored: bool
    box: np.ndarray  # in the picture that was asked for; mirrored first, where it is
    other: np.ndarray  # in the gallery's picture


class Windows:
    """The hashed windows of one small gray picture (mode L)."""

    def __init__(self, picture: Image.Image) -> None:
        factor = SIDE / max(picture.size)
        size = tuple(max(8, round(n * factor)) for n in picture.size)
        image = picture.resize(size, Image.Resampling.LANCZOS)
        self.width = picture.width
        unit = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        dense, probes = squares(*size, DENSE, STEP), squares(*size, PROBES, PROBE_STEP)
        kept, self.dense = hash_windows(image, dense)
        self.dense_boxes = dense[kept] * unit
        self.probes, self.probe_boxes = [], []
        for turned in (image, ImageOps.mirror(image)):
            kept, bits = hash_windows(turned, probes)
            self.probes.append(bits)
            self.probe_boxes.append(probes[kept] * unit)


class Gallery:
    """Hashed pictures in which others are looked for; about 0.5 MB each."""

    def __init__(self, members: Sequence[Windows]) -> None:
        self.members = list(members)
        self._dense = _Stack([m.dense for m in self.members])
        self._probes = [_Stack([m.probes[mirrored] for m in self.members]) for mirrored in (False, True)]

    def guesses(self, asked: Windows) -> dict[int, list[Guess]]:
        """For every member that may share something with `asked`: where, the closest guess first."""
        found: dict[int, list[tuple[float, Guess]]] = {}
        for mirrored in (False, True):
            for agreement, index, i, j in self._dense.closest(asked.probes[mirrored]):
                guess = Guess(index, mirrored, asked.probe_boxes[mirrored][j], self.members[index].dense_boxes[i])
                found.setdefault(index, []).append((agreement, guess))
            for agreement, index, i, j in self._probes[mirrored].closest(asked.dense):
                box, other = asked.dense_boxes[j], self.members[index].probe_boxes[mirrored][i]
                if mirrored:  # the member was mirrored, and `asked` was not
                    box, other = _mirror(box, asked.width), _mirror(other, self.members[index].width)
                found.setdefault(index, []).append((agreement, Guess(index, mirrored, box, other)))
        return {
            index: [guess for _, guess in sorted(pairs, key=lambda pair: -pair[0])] for index, pairs in found.items()
        }


class _Stack:
    """The hashes of all members in one matrix, so that one product compares them all."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.bits = np.concatenate(parts) if parts else np.zeros((0, BITS * BITS), np.float32)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    def closest(self, bits: np.ndarray) -> list[tuple[float, int, int, int]]:
        """(agreement, member, its window, window of `bits`): one for each member that comes close enough."""
        agreement = self.bits @ bits.T  # of ±1: 64 − 2·distance
        rows, columns = np.nonzero(agreement >= BITS * BITS - 2 * CLOSE)
        members = np.searchsorted(self.starts, rows, side="right") - 1
        best: dict[int, tuple[float, int, int, int]] = {}
        for member, row, column in zip(members.tolist(), rows.tolist(), columns.tolist(), strict=True):
            value = float(agreement[row, column])
            if member not in best or value > best[member][0]:
                best[member] = value, member, row - int(self.starts[member]), column
        return list(best.values())


def _mirror(box: np.ndarray, width: float) -> np.ndarray:
    return np.array([width - box[2], box[1], width - box[0], box[3]])


def squares(width: int, height: int, sides: Sequence[float], step: float) -> np.ndarray:
    """Boxes `[N, 4]` of squares of all `sides`, evenly from edge to edge, at most `step` of their side apart."""
    boxes = []
    for part in sides:
        side = part * min(width, height)
        columns, rows = (np.linspace(0, n - side, 1 + int(np.ceil((n - side) / (side * step) - 1e-6)))
                         for n in (width, height))  # fmt: skip
        boxes += [(x, y, x + side, y + side) for y in rows for x in columns]
    return np.array(boxes)


def hash_windows(image: Image.Image, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the windows that are not flat, their hashes `[N, 64]` as ±1): the bits of `imagehash.phash`."""
    fine = [np.asarray(image.resize((FINE, FINE), Image.Resampling.LANCZOS, box=tuple(box))) for box in boxes]
    pixels = np.stack(fine).astype(np.float64)
    kept = np.flatnonzero(pixels.std(axis=(1, 2)) >= FLAT)
    waves = dct(dct(pixels[kept], axis=1), axis=2)[:, :BITS, :BITS].reshape(len(kept), BITS * BITS)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return kept, np.where(bits, np.float32(1), np.float32(-1))
