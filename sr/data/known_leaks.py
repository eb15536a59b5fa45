"""Photographs that are known to be in evaluation sets, recognized among training images in about a millisecond each.

`leaks.csv` holds their perceptual hashes (ImageHash's `phash`, 256 signs), not the images. `python -m sr.inspect` also
finds crops, in any set, but needs the set and a minute.
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
from torch.utils.data import Dataset

from sr.data.patches import Patches
from sr.image.levels import round_to_levels, to_unit
from sr.runtime.terminal import ProgressBar

HASH_SIDE = 16  # signs along a side of the hash
# Of 256 signs that may differ: the same image at 0.25 to 1.5 times its size, JPEG 30 to 50, has 10 at most; others 90 or more.
MAX_DISTANCE = 24
HASHED_SIDE = 96  # pixels of the shorter side that suffice for the hash


class KnownPhotograph(NamedTuple):
    """A photograph of an evaluation set. `training` is the training image that shows it too; empty if none is known."""

    signs: np.ndarray  # [256] of ±1
    set: str
    image: str
    training: str
    note: str


class Leak(NamedTuple):
    """A training image that shows the same photograph as an image of an evaluation set."""

    training: str
    set: str
    image: str
    note: str

    def __str__(self) -> str:
        return f"{self.training} shows {self.set}/{self.image}"


def find_training_leaks(train_set: Dataset | None) -> list[Leak]:
    """Find the training images that are known to be in an evaluation set, whether or not the run uses that set.

    Only images from files are examined; the photographs of the evaluation sets are larger than any `TileSet`'s.
    """
    if not isinstance(train_set, Patches):
        return []
    images = train_set.images
    names = ProgressBar(images.names, desc="known leaks", unit="image", delay=2)
    return find_known_leaks((name, images[k].hr) for k, name in enumerate(names))


def find_known_leaks(images: Iterable[tuple[str, Tensor]]) -> list[Leak]:
    """Find every training image that is known to be in a published evaluation set.

    `images` are (name, uint8 or uint16 `[3 or 1, H, W]`). They are recognized if mirrored, resized or compressed, but not
    if cropped or rotated. Takes 1 ms for an image of 481×321.
    """
    photographs = _read_table()
    matrix = np.stack([entry.signs for entry in photographs])
    leaks: dict[tuple[str, str, str], Leak] = {}  # the first matching row has the most informative note
    for name, pixels in images:
        agreement = (matrix @ hash_image(pixels).T).max(axis=1)
        for k in np.flatnonzero(agreement >= HASH_SIDE * HASH_SIDE - 2 * MAX_DISTANCE):
            leak = Leak(name, photographs[k].set, photographs[k].image, photographs[k].note)
            leaks.setdefault(leak[:3], leak)
    return list(leaks.values())


def hash_image(pixels: Tensor) -> np.ndarray:
    """Return float32 `[2, 256]` of ±1: the hash of an image `[C, H, W]`, uint8 or uint16, and of its mirror image."""
    step = max(1, min(pixels.shape[1:]) // (2 * HASHED_SIDE))
    pixels = round_to_levels(to_unit(pixels[:, ::step, ::step]))
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("L")
    image = image.resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.BOX)
    bits = [imagehash.phash(view, hash_size=HASH_SIDE).hash.ravel() for view in (image, ImageOps.mirror(image))]
    return np.where(bits, np.float32(1), np.float32(-1))


@lru_cache
def _read_table() -> list[KnownPhotograph]:
    with Path(__file__).with_name("leaks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        KnownPhotograph(_parse_hash(row["phash"]), row["set"], row["image"], row["training"], row["note"])
        for row in rows
    ]


def _parse_hash(text: str) -> np.ndarray:
    bits = imagehash.hex_to_hash(text).hash.ravel()
    return np.where(bits, np.float32(1), np.float32(-1))
