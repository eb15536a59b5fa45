"""Photographs that are known to stand in evaluation sets, recognised among training pictures in about a millisecond.

`leaks.csv` holds their perceptual hashes (ImageHash's `phash`, 256 signs), not the pictures. `python -m sr.inspect`
looks for crops as well, in any set, but needs the set and a minute.
"""

import csv
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

SIGNS = 16  # along a side of the hash
CLOSE = (
    24  # of 256 signs. The same picture at 0.25 to 1.5 times its size, JPEG 30 to 50: 10 at most; others: 90 or more
)
SIDE = 96  # pixels of the shorter side that are enough for the hash


class KnownPhotograph(NamedTuple):
    """One photograph: `training` is where it was met outside of the set, empty where only the set's own copy is known."""

    signs: np.ndarray  # [256] of ±1
    set: str
    picture: str
    training: str
    note: str


class Leak(NamedTuple):
    """A training picture that shows the same photograph as a picture of an evaluation set."""

    training: str
    set: str
    picture: str
    note: str

    def __str__(self) -> str:
        return f"{self.training} shows {self.set}/{self.picture}"


def find_known_leaks(pictures: Iterable[tuple[str, Tensor]]) -> list[Leak]:
    """Every training picture that is known to stand in one of the field's evaluation sets.

    `pictures` are (name, uint8 `[3 or 1, H, W]`). Found even when mirrored, resized or compressed, but not when cropped
    or turned. 1 ms a picture of 481×321.
    """
    known = _table()
    matrix = np.stack([entry.signs for entry in known])
    found: dict[tuple[str, str, str], Leak] = {}  # the first row that fits tells the most
    for name, pixels in pictures:
        agreement = (matrix @ hash_image(pixels).T).max(axis=1)
        for k in np.flatnonzero(agreement >= SIGNS * SIGNS - 2 * CLOSE):
            leak = Leak(name, known[k].set, known[k].picture, known[k].note)
            found.setdefault(leak[:3], leak)
    return list(found.values())


def hash_image(pixels: Tensor) -> np.ndarray:
    """float32 `[2, 256]` of ±1: the hash of a uint8 picture `[C, H, W]` and of its mirror image."""
    step = max(1, min(pixels.shape[1:]) // (2 * SIDE))
    array = pixels[:, ::step, ::step].permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("L")
    image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    bits = [imagehash.phash(turned, hash_size=SIGNS).hash.ravel() for turned in (image, ImageOps.mirror(image))]
    return np.where(bits, np.float32(1), np.float32(-1))


@lru_cache
def _table() -> list[KnownPhotograph]:
    with Path(__file__).with_name("leaks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        KnownPhotograph(_unpacked(row["phash"]), row["set"], row["picture"], row["training"], row["note"])
        for row in rows
    ]


def _unpacked(text: str) -> np.ndarray:
    bits = imagehash.hex_to_hash(text).hash.ravel()
    return np.where(bits, np.float32(1), np.float32(-1))
