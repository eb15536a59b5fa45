"""Refuse an image that does not fit in memory, before anything of it is decoded: a decompression bomb, or an honest giant.

The limit is the memory that is free, not a number of pixels: a 400-megapixel image is read where there is room for it, and
everywhere if its format is read in windows.
"""

from pathlib import Path

from PIL import Image

from sr.image.damage import ADVICE
from sr.runtime.error import UserError
from sr.runtime.free_memory import measure_free_memory

SHARE = 0.5  # of the free memory, that one decoded image may take: the rest is for the network and for the result
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; `check_decoded_size` replaces it
DEFLATE_RATIO = 1032  # bytes that one byte of a deflate stream holds at most: RFC 1951
# Pixels that one byte of a file holds at most. A code of GIF has up to 12 bits, and stands for up to 4096 pixels; a block of
# JPEG, 8×8 pixels, needs a bit; a PNG has up to 8 pixels in a byte that is compressed; BMP and TGA repeat 255 and 128 pixels.
PIXELS_PER_BYTE = {
    "GIF": 2731, "JPEG": 512, "MPO": 512, "PNG": 8 * DEFLATE_RATIO, "BMP": 128, "DIB": 128, "TGA": 128, "PPM": 8,
}  # fmt: skip


def check_decoded_size(path: Path, height: int, width: int, pixel_bytes: float) -> None:
    """Raise a `UserError` if `height`×`width` pixels, which are decoded at once, need more than half of the free memory."""
    size, free = height * width * pixel_bytes, measure_free_memory()
    if size > SHARE * free:
        raise UserError(
            f"{path}: too large to decode: {width}×{height} pixels need {_describe(size)} at once, and {_describe(free)} of "
            "memory are free; convert it to a tiled TIFF, which is read in parts, or make it smaller"
        )


def check_announced_size(path: Path, image: Image.Image) -> None:
    """Raise a `UserError` if the header of an image that Pillow opened announces more pixels than its file can hold."""
    per_byte = PIXELS_PER_BYTE.get(image.format or "")
    if image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA", "I;16"):
        per_byte = DEFLATE_RATIO // {"RGB": 3, "RGBA": 4}.get(image.mode, 2)
    size = path.stat().st_size
    if per_byte and image.width * image.height > per_byte * size:
        raise UserError(
            f"{path}: this image is damaged (its header announces {image.width}×{image.height} pixels, more than the "
            f"{size} bytes of the file can hold); {ADVICE}"
        )


def _describe(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
