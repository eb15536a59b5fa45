"""Check a PNG file chunk by chunk: what Pillow's decoder does not notice leaves a black rest of the image."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, steps
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"fcTL", b"fdAT")
BLOCK = 1 << 20  # bytes inflated at once


def find_png_damage(path: Path) -> str:
    """Return what is wrong with the chunks of a PNG file, or an empty string: a wrong checksum, too few pixels, no end.

    The pixels are inflated but not decoded. Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return "this is not a PNG file"
        header, inflater, size, damage = b"", zlib.decompressobj(), 0, ""
        for name, data, has_right_checksum in read_chunks(file):
            if not has_right_checksum:
                damage = damage or f"wrong checksum of its {name.decode('latin1')} chunk"
            if name == b"IHDR":
                header = data
            elif name == b"IDAT":
                try:
                    size += _count_inflated(inflater, data)
                except zlib.error as error:
                    return damage or f"its pixels cannot be inflated ({error})"
            elif name == b"IEND":
                break
        else:
            damage = damage or "its end is missing"
        size += len(inflater.flush())
    if len(header) != 13:
        return "its header is missing"
    expected = count_expected_bytes(header)
    return f"its pixels end after {size} of {expected} bytes" if size < expected else damage


def find_wrong_checksum(path: Path) -> str:
    """Return what is wrong with the checksums of the chunks that pixels depend on, or an empty string.

    Pillow does not check that of the last chunk of pixels. Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        wrong = (name for name, _, has_right_checksum in read_chunks(file) if not has_right_checksum)
        name = next((name for name in wrong if name in PIXEL_CHUNKS), None)
    return f"wrong checksum of its {name.decode()} chunk" if name else ""


def may_be_incomplete(image: Image.Image) -> bool:
    """Return True if a decoded image may end early: one of its last two rows is all zero, as rows are before decoding.

    Of an interlaced image, the last pass holds one of these rows, unless there is only one row.
    """
    width, height = image.size
    if height == 1:
        return True
    rows = (image.crop((0, y, width, y + 1)) for y in range(height - 2, height))
    return any(row.getbbox(alpha_only=False) is None for row in rows)


def read_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name, content and whether the checksum is right, of each complete chunk."""
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        data, checksum = file.read(length), file.read(4)
        if len(checksum) < 4:
            return
        yield name, data, zlib.crc32(data, zlib.crc32(name)) == int.from_bytes(checksum, "big")


def _count_inflated(inflater: "zlib._Decompress", data: bytes) -> int:
    size = 0
    while data:
        size += len(inflater.decompress(data, BLOCK))
        data = inflater.unconsumed_tail
    return size


def count_expected_bytes(header: bytes) -> int:
    """Return the bytes of all rows, each with its filter type."""
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", header)
    bits = depth * CHANNELS.get(color, 1)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in passes)
    return sum(h * (1 + -(-w * bits // 8)) for w, h in sizes if w > 0 and h > 0)
