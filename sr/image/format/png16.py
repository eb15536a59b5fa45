"""Decode PNG files with 16 bits per channel, of which Pillow drops the lower 8 (pip install 'sr[images]')."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sr.image.damage import import_decoder, report_damage
from sr.image.png import ADAM7, CHANNELS, SIGNATURE, count_expected_bytes, find_wrong_checksum, read_chunks

INTERLACE = 28  # where the method of interlacing is in a file


def decode_png16(path: Path) -> np.ndarray:
    """Return uint16 `[H, W, C]`: gray, gray with alpha, RGB, or RGB with alpha. A transparent color is read as alpha.

    Every checksum is verified. The caller limits the size.
    """
    imagecodecs = import_decoder("imagecodecs", path, "a PNG file with 16 bits per channel")
    with report_damage(path):
        if damage := find_wrong_checksum(path):  # before libpng prints a warning of its own
            raise ValueError(damage)
        with path.open("rb") as file:
            is_interlaced = file.read(INTERLACE + 1)[-1] == 1
        decode = imagecodecs.png_decode
        array = _decode_interlaced(path, decode) if is_interlaced else decode(path.read_bytes())
        if array.dtype != np.uint16:
            raise ValueError(f"expected 16 bits per channel, found {array.dtype.itemsize * 8}")
        return array[:, :, None] if array.ndim == 2 else array


def _decode_interlaced(path: Path, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Decode the seven images that an interlaced file consists of, each as a PNG of its own.

    As a whole, imagecodecs decodes it rightly as well, but libpng prints a warning.
    """
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        chunks = [(name, data) for name, data, _ in read_chunks(file)]
    header = dict(chunks)[b"IHDR"]
    width, height, depth, color = struct.unpack_from(">IIBB", header)
    packed = b"".join(data for name, data in chunks if name == b"IDAT")
    rows = zlib.decompressobj().decompress(packed, count_expected_bytes(header))  # no more, whatever is in it
    others = [(name, data) for name, data in chunks if name == b"tRNS"]
    image = None
    for x, y, step_x, step_y in ADAM7:
        w, h = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if w < 1 or h < 1:
            continue
        size = h * (1 + w * CHANNELS[color] * depth // 8)
        part, rows = rows[:size], rows[size:]
        pixels = decode(_pack_png(struct.pack(">II", w, h) + header[8:12] + b"\0", others, part))
        image = np.zeros((height, width, *pixels.shape[2:]), pixels.dtype) if image is None else image
        image[y::step_y, x::step_x] = pixels
    return image


def _pack_png(header: bytes, chunks: list[tuple[bytes, bytes]], rows: bytes) -> bytes:
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    packed = (
        struct.pack(">I4s", len(data), name) + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return SIGNATURE + b"".join(packed)
