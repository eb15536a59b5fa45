"""Decode PNG files with 16 bits per channel, of which Pillow drops the lower 8 (pip install 'sr[images]')."""

from pathlib import Path

import numpy as np

from sr.image.damage import import_decoder, report_damage
from sr.image.png import find_wrong_checksum


def decode_png16(path: Path) -> np.ndarray:
    """Return uint16 `[H, W, C]`: gray, gray with alpha, RGB, or RGB with alpha. A transparent color is read as alpha.

    Every checksum is verified. The caller limits the size.
    """
    imagecodecs = import_decoder("imagecodecs", path, "a PNG file with 16 bits per channel")
    with report_damage(path):
        if damage := find_wrong_checksum(path):  # before libpng prints a warning of its own
            raise ValueError(damage)
        array = imagecodecs.png_decode(path.read_bytes())
        if array.dtype != np.uint16:
            raise ValueError(f"expected 16 bits per channel, found {array.dtype.itemsize * 8}")
        return array[:, :, None] if array.ndim == 2 else array
