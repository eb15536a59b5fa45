"""Photographs that are known to be in evaluation sets, recognized among training images in about a millisecond each.

`leaks.csv` holds their perceptual hashes (ImageHash's `phash`, 256 signs), not the images. `python -m sr.inspect` also
finds crops, in any set, but needs the set and a minute.
"""

import csv
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from sr.data.leak import Leak
from sr.data.patches import Patches
from sr.data.remembered import Remembered, Value
from sr.image.levels import round_to_levels, to_unit
from sr.runtime.cores import create_thread_pool
from sr.runtime.terminal import ProgressBar

HASH_SIDE = 16  # signs along a side of the hash
# Of 256 signs that may differ: the same image at 0.25 to 1.5 times its size, JPEG 30 to 50, has 10 at most; others 90 or more.
MAX_DISTANCE = 24
HASHED_SIDE = 96  # pixels of the shorter side that suffice for the hash
KIND = f"known leaks 1 {HASH_SIDE} {HASHED_SIDE}"  # of remembered values: the bits of `hash_image`
HASHES_PER_PRODUCT = 1000  # images that are compared at once


class KnownPhotograph(NamedTuple):
    """A photograph of an evaluation set. `training` is the training image that shows it too; empty if none is known."""

    signs: np.ndarray  # [256] of ±1
    set: str
    image: str
    training: str
    note: str


def find_training_leaks(train_set: Dataset | None) -> list[Leak]:
    """Find the training images that are known to be in an evaluation set, whether or not the run uses that set.

    Only images from files are examined; the photographs of the evaluation sets are larger than any `TileSet`'s. The hashes
    of files that were examined before are remembered, if the set has a cache.
    """
    if not isinstance(train_set, Patches):
        return []
    images = train_set.images
    keys = images.name_entries()
    remembered = images.cache.remembered if keys else Remembered(None)
    found = remembered.find(KIND, keys)
    missing = [k for k in range(len(images)) if not keys or not _is_hash(found.get(keys[k]))]
    with create_thread_pool() as pool:
        hashes = pool.map(lambda k: _encode_hash(hash_image(images[k].hr)), missing)
        bar = ProgressBar(hashes, total=len(missing), desc="known leaks", unit="image", delay=2)
        new = dict(zip(missing, bar, strict=True))
    if keys:
        remembered.store(KIND, {keys[k]: value for k, value in new.items()})
    return _match_photographs(images.names, [new[k] if k in new else found[keys[k]] for k in range(len(images))])


def find_known_leaks(images: Iterable[tuple[str, Tensor]]) -> list[Leak]:
    """Find every training image that is known to be in a published evaluation set.

    `images` are (name, uint8 or uint16 `[3 or 1, H, W]`). They are recognized if mirrored, resized or compressed, but not
    if cropped or rotated. Takes 1 ms for an image of 481×321.
    """
    hashes = {name: _encode_hash(hash_image(pixels)) for name, pixels in images}
    return _match_photographs(list(hashes), list(hashes.values()))


def _match_photographs(names: Sequence[str], hashes: Sequence[bytes]) -> list[Leak]:
    """Return the leaks among training images of these names and encoded hashes."""
    photographs = _read_table()
    matrix = np.stack([entry.signs for entry in photographs])
    leaks: dict[tuple[str, str, str], Leak] = {}  # the first matching row has the most informative note
    for start in range(0, len(hashes), HASHES_PER_PRODUCT):
        part = hashes[start : start + HASHES_PER_PRODUCT]
        bits = np.unpackbits(np.frombuffer(b"".join(part), np.uint8)).reshape(2 * len(part), -1)
        agreement = np.where(bits, np.float32(1), np.float32(-1)) @ matrix.T
        agreement = agreement.reshape(len(part), 2, -1).max(axis=1)
        for n, k in np.argwhere(agreement >= HASH_SIDE * HASH_SIDE - 2 * MAX_DISTANCE).tolist():
            leak = Leak(names[start + n], photographs[k].set, photographs[k].image, photographs[k].note)
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


def _encode_hash(signs: np.ndarray) -> bytes:
    return np.packbits(signs > 0).tobytes()


def _is_hash(value: Value | None) -> bool:
    """Return True if a remembered value is a hash, and not damaged."""
    return isinstance(value, bytes) and len(value) == 2 * HASH_SIDE * HASH_SIDE // 8


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
