"""Refuse an image that does not fit in memory, before anything of it is decoded: a decompression bomb, or an honest giant.

The limit is the memory that is free, not a number of pixels: a 400-megapixel image is read where there is room for it, and
everywhere if its format is read in windows.
"""

from pathlib import Path

from PIL import Image

from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory

SHARE = 0.5  # of the free memory, that one decoded image may take: the rest is for the network and for the result
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; `check_decoded_size` replaces it


def check_decoded_size(path: Path, height: int, width: int, pixel_bytes: float) -> None:
    """Raise a `UserError` if `height`×`width` pixels, which are decoded at once, need more than half of the free memory."""
    size, free = height * width * pixel_bytes, measure_free_memory()
    if size > SHARE * free:
        raise UserError(
            f"{path}: too large to decode: {width}×{height} pixels need {_describe(size)} at once, and {_describe(free)} of "
            "memory are free; convert it to a tiled TIFF, which is read in parts, or make it smaller"
        )


def _describe(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
