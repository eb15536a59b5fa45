"""Check the lengths and checksums of the strips and tiles of a TIFF that are compressed by deflate.

GDAL reads only as many bytes as it needs. If a damaged stream holds more, it never gets to the end, where the checksum is: an
Adler-32 (RFC 1950), by which nearly every change of a byte is found.
"""

import math
import zlib
from pathlib import Path
from typing import NamedTuple

from sr.image.format.tiff_tags import Entry, list_tags, read_directory, read_layout
from sr.image.tiff import BITS, MASK, REDUCED, SAMPLES, SUBFILE_TYPE

WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, PLANAR, ROWS, TILE_WIDTH, TILE_HEIGHT = 256, 257, 259, 262, 284, 278, 322, 323
OFFSETS, LENGTHS = (324, 273), (325, 279)  # of tiles, of strips
DEFLATE, YCBCR = (8, 32946), 6  # of COMPRESSION, of PHOTOMETRIC
MAX_PAGES = 64  # that are looked at, for the mask of the first one


class _Blocks(NamedTuple):
    """The strips or tiles of an image."""

    height: int
    rows: int  # of a strip or tile
    across: int
    planes: int
    row_bytes: int  # of a row of a strip or tile
    is_tiled: bool
    offsets: list[int]
    lengths: list[int]

    @property
    def down(self) -> int:
        """The number of rows of strips or tiles."""
        return math.ceil(self.height / self.rows)


class DeflateChecker:
    """Check the rows of the first image of a TIFF, and of its mask, each strip or tile once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images = _list_images(path)
        self._checked: set[tuple[int, int]] = set()  # image, row of strips or tiles

    def check(self, top: int, bottom: int) -> None:
        """Raise `ValueError` if a strip or tile of the rows `top` to `bottom` - 1 is damaged."""
        for number, blocks in enumerate(self._images):
            for row in range(top // blocks.rows, min(blocks.down, math.ceil(bottom / blocks.rows))):
                if (number, row) not in self._checked:
                    self._check_row(blocks, row)
                    self._checked.add((number, row))

    def _check_row(self, blocks: _Blocks, row: int) -> None:
        whole = blocks.rows * blocks.row_bytes
        last = whole if blocks.is_tiled else min(blocks.rows, blocks.height - row * blocks.rows) * blocks.row_bytes
        with self.path.open("rb") as file:
            for plane in range(blocks.planes):
                start = (plane * blocks.down + row) * blocks.across
                for index in range(start, start + blocks.across):
                    if blocks.lengths[index] == 0:  # left out, for it holds no data
                        continue
                    file.seek(blocks.offsets[index])
                    _check_stream(file.read(blocks.lengths[index]), {whole, last})


def _check_stream(data: bytes, lengths: set[int]) -> None:
    decoder = zlib.decompressobj()
    try:
        found = len(decoder.decompress(data, max(lengths) + 1))
    except zlib.error:
        raise ValueError("the checksum of a strip or tile is wrong") from None
    if not decoder.eof or found not in lengths:
        raise ValueError("a strip or tile that is compressed by deflate does not have the length of its pixels")


def _list_images(path: Path) -> list[_Blocks]:
    """Return the first image and its masks, as far as they are compressed by deflate."""
    with path.open("rb") as file:
        if file.read(2) not in (b"II", b"MM"):  # JPEG 2000
            return []
        file.seek(0)
        layout, offset = read_layout(file)
        images, seen = [], set()
        while offset and offset not in seen and len(seen) < MAX_PAGES:
            tags = read_directory(file, layout, offset)
            kind = _read_number(tags, SUBFILE_TYPE, 0)
            is_used = not seen or (kind & MASK and not kind & REDUCED)
            is_deflated = _read_number(tags, COMPRESSION, 1) in DEFLATE
            if (
                is_used and is_deflated and _read_number(tags, PHOTOMETRIC, 0) != YCBCR
            ):  # whose chroma has fewer samples
                images.append(_describe_blocks(tags))
            seen.add(offset)
            offset = list_tags(file, layout, offset)[1]
    return images


def _describe_blocks(tags: dict[int, Entry]) -> _Blocks:
    width, height, samples = (_read_number(tags, tag, 1) for tag in (WIDTH, HEIGHT, SAMPLES))
    is_tiled = TILE_WIDTH in tags
    columns = _read_number(tags, TILE_WIDTH, width)
    rows = _read_number(tags, TILE_HEIGHT, height) if is_tiled else min(_read_number(tags, ROWS, height), height)
    planes = samples if _read_number(tags, PLANAR, 1) == 2 else 1
    row_bytes = math.ceil(columns * (samples // planes) * _read_number(tags, BITS, 1) / 8)
    offsets, lengths = (
        [int(number) for number in next(tags[tag] for tag in pair if tag in tags).read_numbers()]
        for pair in (OFFSETS, LENGTHS)
    )
    return _Blocks(height, rows, math.ceil(width / columns), planes, row_bytes, is_tiled, offsets, lengths)


def _read_number(tags: dict[int, Entry], tag: int, default: int) -> int:
    return int(tags[tag].read_numbers()[0]) if tag in tags else default
