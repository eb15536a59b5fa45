"""Decode windows of a TIFF page: only the strips or tiles that a window touches (tifffile and imagecodecs)."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from sr.image.damage import UnsupportedImageError
from sr.image.jpeg_scan import check_jpeg_scans, find_frame_size
from sr.image.limits import check_decoded_size
from sr.image.tiff import GDAL_METADATA, GDAL_NODATA, GEO_TAGS

UNCOMPRESSED, FAX, JPEG = 1, (2, 3, 4), (7, 34892, 33007)  # compressions
PADDING = 4  # bytes, less than which a strip that is not compressed may have after its pixels
SMALL_BYTES = 1 << 25  # of a decoded row of segments that is never worth a thought


class SegmentReader:
    """Read windows of one page as `[H, W, samples]`, as stored; the last row of strips or tiles stays decoded.

    Raises `UserError` if the page is of a kind that is not decoded, or if one row of its strips or tiles would not fit in
    memory. Other exceptions of `read` are damage; `notes` are about signs of it that need not be.
    """

    def __init__(self, path: Path, page: Any) -> None:
        self.path, self.page = path, page
        self.height, self.width, self.samples = page.imagelength, page.imagewidth, page.samplesperpixel
        self.is_planar = page.planarconfig == 2 and self.samples > 1
        self._is_gdal = any(tag in page.tags for tag in (*GEO_TAGS, GDAL_METADATA, GDAL_NODATA))
        self._decoded: dict[int, np.ndarray] = {}
        self.notes: tuple[str, ...] = ()
        if min(self.height, self.width, self.samples) < 1:
            raise ValueError(f"its header announces {self.width}×{self.height} pixels of {self.samples} samples")
        if page.imagedepth != 1 or (page.is_tiled and page.tiledepth != 1):
            raise UnsupportedImageError(f"{path}: a volume in one page; save its slices as pages")
        if page.dtype is None:
            raise UnsupportedImageError(f"{path}: samples of {page.bitspersample} bits (format {page.sampleformat})")
        if page.is_tiled:
            self.rows, self.columns = page.tilelength, page.tilewidth
        else:
            self.rows, self.columns = min(page.rowsperstrip, self.height), self.width
        if min(self.rows, self.columns) < 1:
            raise ValueError("its strips or tiles are empty")
        self._down, self._across = math.ceil(self.height / self.rows), math.ceil(self.width / self.columns)
        self._check_segments()
        self.row_bytes = 0 if self._is_plain else self.rows * self._across * self.columns * self.pixel_bytes
        if self.row_bytes:
            check_decoded_size(path, self.rows, self._across * self.columns, self.pixel_bytes)

    @property
    def pixel_bytes(self) -> int:
        """The bytes of one decoded pixel."""
        return self.samples * self.page.dtype.itemsize

    @property
    def is_windowed(self) -> bool:
        """False if the page is one large compressed strip, or nearly so: reading any of it decodes it all."""
        return self.row_bytes <= max(SMALL_BYTES, self.height * self.width * self.pixel_bytes // 4)

    @property
    def _is_plain(self) -> bool:
        """True if rows can be read from the file as they are, however tall the strips."""
        page = self.page
        return (
            page.compression == UNCOMPRESSED and page.predictor == 1 and not page.is_tiled and page.fillorder == 1
            and page.bitspersample == page.dtype.itemsize * 8 and page.photometric != 6
        )  # fmt: skip

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return the window `[height, width, samples]` in the dtype of the file."""
        planes = self.samples if self.is_planar else 1
        first, last = top // self.rows, (top + height - 1) // self.rows
        # What later windows do not need: they go from left to right, then down.
        per_plane = self._down * self._across
        stale = [i for i in self._decoded if not first <= i % per_plane // self._across <= last]
        for index in stale:
            del self._decoded[index]
        window = np.empty((height, width, self.samples), self.page.dtype)
        for plane in range(planes):
            samples = slice(plane, plane + 1) if self.is_planar else slice(None)
            for row in range(first, last + 1):
                y, from_y = max(row * self.rows, top), row * self.rows
                until_y = min(from_y + self.rows, top + height)
                for column in range(left // self.columns, (left + width - 1) // self.columns + 1):
                    x, from_x = max(column * self.columns, left), column * self.columns
                    until_x = min(from_x + self.columns, left + width)
                    index = (plane * self._down + row) * self._across + column
                    part = self._read_segment(index, y - from_y, until_y - from_y)
                    window[y - top : until_y - top, x - left : until_x - left, samples] = (
                        part[:, x - from_x : until_x - from_x]
                    )  # fmt: skip
        return window

    def release(self) -> None:
        """Release what is decoded."""
        self._decoded.clear()

    def _read_segment(self, index: int, from_row: int, until_row: int) -> np.ndarray:
        """Return rows of a strip or tile, `[rows, columns, samples or 1]`."""
        samples = 1 if self.is_planar else self.samples
        if self._is_plain and not self._is_sparse(index):
            row_bytes = self.width * samples * self.page.dtype.itemsize
            data = self._read_bytes(
                self.page.dataoffsets[index] + from_row * row_bytes, (until_row - from_row) * row_bytes
            )
            dtype = self.page.dtype.newbyteorder(self.page.parent.byteorder)
            return np.frombuffer(data, dtype).reshape(until_row - from_row, self.width, samples)
        if index not in self._decoded:
            self._decoded[index] = self._decode(index, samples)
        return self._decoded[index][from_row:until_row]

    def _decode(self, index: int, samples: int) -> np.ndarray:
        page = self.page
        if self._is_sparse(index):
            return np.full((self.rows, self.columns, samples), page.nodata, page.dtype)
        data = self._read_bytes(page.dataoffsets[index], page.databytecounts[index])
        tables = page.jpegtables if page.compression in JPEG else None
        decoded = page.decode(data, index, jpegtables=tables, jpegheader=page.jpegheader)[0]
        row, column = index % (self._down * self._across) // self._across, index % self._across
        needed = (
            min(self.rows, self.height - row * self.rows), min(self.columns, self.width - column * self.columns), samples
        )  # fmt: skip
        if page.compression in FAX and needed[0] > 8 * len(data):  # each row has a bit
            raise ValueError(f"{needed[0]} rows were expected in {len(data)} bytes")
        if page.compression in JPEG:
            check_jpeg_size(data, *needed[:2])
            check_jpeg_scans(data, tables)
        if decoded is None or decoded.ndim != 4 or any(d < n for d, n in zip(decoded.shape[1:], needed, strict=True)):
            found = "nothing" if decoded is None else "×".join(map(str, decoded.shape))
            raise ValueError(f"a strip or tile of {needed[1]}×{needed[0]} pixels was expected, decoded is {found}")
        return decoded[0, ..., :samples]

    def _read_bytes(self, offset: int, size: int) -> bytes:
        file = self.page.parent.filehandle
        file.seek(offset)
        data = file.read(size)
        if len(data) < size:
            raise ValueError(f"its pixels end after {len(data)} of {size} bytes of a strip or tile")
        return data

    def _check_segments(self) -> None:
        """Raise `ValueError` if the file ends before its last strip or tile, or if some are missing."""
        page = self.page
        count = self._down * self._across * (self.samples if self.is_planar else 1)
        found = min(len(page.dataoffsets), len(page.databytecounts))
        if found < count:
            raise ValueError(f"its header lists {found} of {count} strips or tiles")
        end = page.parent.filehandle.size
        for index in range(count):
            size = page.databytecounts[index]
            if size == 0 and not self._is_sparse(index):
                raise ValueError("a strip or tile is empty")
            if self._is_plain:
                row = index % self._down
                rows = min(self.rows, self.height - row * self.rows)
                size = rows * self.width * (1 if self.is_planar else self.samples) * page.dtype.itemsize
                if not size <= page.databytecounts[index] < size + PADDING and not self._is_sparse(index):
                    self.notes = ("its header may be damaged: the lengths of its strips do not fit its size",)
            if size and page.dataoffsets[index] + size > end and not self._is_sparse(index):
                raise ValueError(
                    f"its pixels end {page.dataoffsets[index] + size - end} bytes behind the end of the file"
                )

    def _is_sparse(self, index: int) -> bool:
        """Return True for a block that GDAL has left out because it holds no data."""
        return self._is_gdal and self.page.dataoffsets[index] == 0 and self.page.databytecounts[index] == 0


def check_jpeg_size(data: bytes, height: int, width: int) -> None:
    """Raise `ValueError` if a JPEG stream has fewer rows or columns than expected: its decoder would not notice."""
    size = find_frame_size(data)
    if size is None:
        raise ValueError("a strip or tile has no JPEG header")
    if size[0] < height or size[1] < width:
        raise ValueError(f"a strip or tile of {width}×{height} pixels was expected, found {size[1]}×{size[0]}")
