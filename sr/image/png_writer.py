"""Write PNG files row by row: filter, deflate and append, with bounded memory. 8 or 16 bits per channel.

PNG (Portable Network Graphics) Specification, third edition: chunks in section 11, filters in section 9.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from sr.image.file_format import Frame, Header, ImageWriter, Metadata
from sr.image.pillow_writer import stack_layers
from sr.image.png import SIGNATURE

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of layers, alpha included
NONE, PAETH = 0, 4  # filters; Paeth is nearly always the best one for photographs, above all for upscaled ones
BLOCK = 1 << 17  # bytes filtered at once: what is computed of them fits into a core's cache
SAMPLE = 1 << 15  # bytes that are compressed in three ways to choose one …
BANDS = 4  # … and the number of places that they are taken from
INCHES_PER_METER = 39.37007874
MAX_KEY = 79  # characters
# Runs of equal bytes are all that filtered photographs repeat: to search for more takes four times as long, and gains
# nothing. Graphics and dithered images gain by it.
RUNS, SEARCH = zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY
GAIN = 0.9  # ratio of sizes, of the sample, below which another way is worth its time


class PngWriter(ImageWriter):
    """A PNG file with one frame."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, metadata: Metadata) -> None:
        self._path = path
        layers = header.channels + header.has_alpha
        self._step = layers * header.dtype.itemsize  # bytes of a pixel
        self._above = np.zeros((1, header.width * self._step), np.uint8)  # the row before the next one
        self._deflate: zlib._Compress | None = None
        self._filter = PAETH
        shape = (header.width, header.height, 8 * header.dtype.itemsize, COLOR_TYPES[layers], 0, 0, 0)
        path.write_bytes(SIGNATURE + build_chunk(b"IHDR", struct.pack(">IIBBBBB", *shape)) + build_chunks(metadata))

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]`."""
        pixels = stack_layers(frame)
        rows = pixels.astype(pixels.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(len(pixels), -1)
        if self._deflate is None:
            self._filter, strategy = choose_compression(rows, self._step)
            self._deflate = zlib.compressobj(strategy=strategy)
        count = max(1, BLOCK // rows.shape[1])
        with self._path.open("ab") as file:
            for start in range(0, len(rows), count):
                block = rows[start : start + count]
                filtered = filter_rows(block, self._above, self._step) if self._filter else number_rows(block, NONE)
                self._above = block[-1:].copy()
                data = self._deflate.compress(filtered)
                if data:
                    file.write(build_chunk(b"IDAT", data))

    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""
        with self._path.open("ab") as file:
            file.write(build_chunk(b"IDAT", self._deflate.flush()) + build_chunk(b"IEND", b""))


def filter_rows(rows: np.ndarray, above: np.ndarray, step: int) -> bytes:
    """Apply the filter Paeth to rows of bytes `[rows, bytes]`, of which `above` `[1, bytes]` is the one before.

    `step` is the number of bytes of a pixel. The result begins each row with the number of its filter.
    """
    up = np.concatenate([above, rows[:-1]])
    left, up_left = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], up_left[:, step:] = rows[:, :-step], up[:, :-step]
    a, b, c = left.astype(np.int16), up.astype(np.int16), up_left.astype(np.int16)
    near_a, near_b = np.abs(b - c), np.abs(a - c)
    near_c = np.abs(a + b - 2 * c)
    predicted = np.where(near_b <= near_c, up, up_left)
    np.copyto(predicted, left, where=(near_a <= near_b) & (near_a <= near_c))
    return number_rows(rows - predicted, PAETH)


def number_rows(rows: np.ndarray, number: int) -> bytes:
    """Begin each row with the number of its filter."""
    return np.concatenate([np.full((len(rows), 1), number, np.uint8), rows], axis=1).tobytes()


def choose_compression(rows: np.ndarray, step: int) -> tuple[int, int]:
    """Return filter and strategy for an image from these rows of it: the fast ones, unless others are much smaller."""
    height, count = max(1, SAMPLE // BANDS // rows.shape[1]), BANDS
    if len(rows) <= BANDS * height:  # bands that overlap would look as if the image repeated itself
        height, count = len(rows), 1
    starts = np.linspace(0, len(rows) - height, count).astype(int)
    above = [rows[start - 1][None] if start else np.zeros_like(rows[:1]) for start in starts]
    bands = [rows[start : start + height] for start in starts]
    filtered = b"".join(filter_rows(*pair, step) for pair in zip(bands, above, strict=True))
    plain = b"".join(number_rows(band, NONE) for band in bands)
    ways = {(PAETH, RUNS): filtered, (PAETH, SEARCH): filtered, (NONE, SEARCH): plain}
    sizes = {way: _count_compressed(data, way[1]) for way, data in ways.items()}
    smallest = min(sizes, key=sizes.__getitem__)
    return smallest if sizes[smallest] < GAIN * sizes[PAETH, RUNS] else (PAETH, RUNS)


def _count_compressed(data: bytes, strategy: int) -> int:
    deflate = zlib.compressobj(strategy=strategy)
    return len(deflate.compress(data)) + len(deflate.flush())


def build_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk: length, name, data and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def build_chunks(metadata: Metadata) -> bytes:
    """Return the chunks of the metadata, which all may stand between the header and the pixels."""
    chunks = b""
    if metadata.icc:
        chunks += build_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        per_meter = (round(x * INCHES_PER_METER) for x in metadata.dpi)
        chunks += build_chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if metadata.exif:
        chunks += build_chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunks += _build_text("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"), is_international=True)
    for key, text in metadata.texts.items():
        chunks += _build_text("Comment" if key == "comment" else key, text)
    return chunks


def _build_text(key: str, text: str, is_international: bool = False) -> bytes:
    """Return a text as tEXt, or as iTXt if it has characters that Latin-1 has not."""
    name = key.encode("latin-1", "replace")[:MAX_KEY] + b"\0"
    if is_international or not text.isascii():
        return build_chunk(b"iTXt", name + b"\0\0\0\0" + text.encode())
    return build_chunk(b"tEXt", name + text.encode())
