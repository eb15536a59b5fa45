"""Write TIFF files strip by strip, as the rows come: 8 and 16 bits, float, any number of bands, pages, BigTIFF above 4 GB."""

import zlib
from pathlib import Path

import numpy as np
import torch

from sr.image.file_format import Frame, Header, ImageWriter, Metadata
from sr.image.format.tiff_metadata import TiffNative, list_entries, pack_exif
from sr.image.format.tiff_tags import LONG, LONG8, SHORT, Entry, Layout, make_entry, pack_directory

NONE, LZW, DEFLATE, OLD_DEFLATE, ZSTD, OLD_ZSTD = 1, 5, 8, 32946, 50000, 34926
STRIP_BYTES = 1 << 18  # of rows before compression: a window of a reader decodes little more than it needs
MAX_CLASSIC_BYTES = (1 << 32) - (1 << 26)  # of pixels; the rest is for the directories
DEFLATE_LEVEL = 6


class TiffWriter(ImageWriter):
    """A TIFF file whose strips are compressed as the rows come. The directory of a page follows its strips."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, metadata: Metadata) -> None:
        self.header, self.metadata = header, metadata
        self.samples = header.channels + header.has_alpha
        row_bytes = header.width * header.pixel_bytes
        # What cannot be compressed becomes a little larger.
        size = header.height * row_bytes * header.frames
        self.layout = Layout("<", size + size // 128 > MAX_CLASSIC_BYTES)
        self.rows_per_strip = max(1, min(header.height, STRIP_BYTES // max(1, row_bytes)))
        self.compression, self.predictor = _choose_compression(metadata.native, header.dtype)
        self._rows: list[np.ndarray] = []  # [rows, W, samples], less than a strip of them
        self._waiting = self._written = 0  # rows of the current page
        self._strips: list[tuple[int, int]] = []  # offset and size
        self._file = path.open("wb")
        self._size = 0  # of what is written
        self._append(b"II+\0\x08\0\0\0" + bytes(8) if self.layout.is_big else b"II*\0" + bytes(4))
        self._link = 8 if self.layout.is_big else 4  # where the offset of the next directory belongs

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current page."""
        layers = frame.pixels if frame.alpha is None else torch.cat([frame.pixels, frame.alpha])
        rows = layers.permute(1, 2, 0).contiguous().cpu().numpy()
        while len(rows):
            count = min(len(rows), self.rows_per_strip - self._waiting, self.header.height - self._written)
            self._rows.append(rows[:count])
            self._waiting += count
            self._written += count
            if self._waiting == self.rows_per_strip or self._written == self.header.height:
                self._write_strip()
            if self._written == self.header.height:
                self._write_directory()
            rows = rows[count:]

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def _write_strip(self) -> None:
        strip = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        data = _compress(strip, self.compression, self.predictor)
        self._strips.append((self._append(data), len(data)))
        self._rows, self._waiting = [], 0

    def _write_directory(self) -> None:
        self._append(bytes(self._size % 2))  # directories begin at even offsets
        entries = self._describe_pixels() + list_entries(self.metadata, self.header)
        inner, pointers = pack_exif(self.metadata, self._size, self.layout)
        self._append(inner)
        block, link = pack_directory(entries + pointers, self._size, self.layout)
        offset = self._append(block)
        self._file.seek(self._link)
        self._file.write(offset.to_bytes(self.layout.offset_bytes, "little"))
        self._file.seek(self._size)
        self._link, self._strips, self._written = link, [], 0

    def _append(self, data: bytes) -> int:
        """Write to the end of the file, and return where."""
        self._file.write(data)
        self._size += len(data)
        return self._size - len(data)

    def _describe_pixels(self) -> list[Entry]:
        header, size = self.header, LONG8 if self.layout.is_big else LONG
        is_rgb = header.channels == 3
        extra = [0] * (0 if is_rgb else header.channels - 1) + [
            2
        ] * header.has_alpha  # 2: not multiplied into the color
        offsets, sizes = zip(*self._strips, strict=True)
        entries = [
            make_entry(256, LONG, header.width),
            make_entry(257, LONG, header.height),
            make_entry(258, SHORT, *[header.dtype.itemsize * 8] * self.samples),
            make_entry(259, SHORT, self.compression),
            make_entry(262, SHORT, 2 if is_rgb else 1),
            make_entry(273, size, *offsets),
            make_entry(274, SHORT, 1),
            make_entry(277, SHORT, self.samples),
            make_entry(278, LONG, self.rows_per_strip),
            make_entry(279, size, *sizes),
            make_entry(284, SHORT, 1),
            make_entry(339, SHORT, *[3 if header.dtype == torch.float32 else 1] * self.samples),
        ]
        entries += [make_entry(254, LONG, 2)] if header.frames > 1 else []
        entries += [make_entry(317, SHORT, self.predictor)] if self.predictor > 1 else []
        return entries + ([make_entry(338, SHORT, *extra)] if extra else [])


def _choose_compression(native: object, dtype: torch.dtype) -> tuple[int, int]:
    """Return compression and predictor: the source's compression if it is lossless and can be written, else deflate."""
    found = native.compression if isinstance(native, TiffNative) else DEFLATE
    compression = {OLD_DEFLATE: DEFLATE, OLD_ZSTD: ZSTD}.get(found, found)
    if compression == NONE:
        return NONE, 1
    has_codecs = _import_codecs() is not None
    if compression not in (LZW, ZSTD) or not has_codecs:
        compression = DEFLATE
    if dtype == torch.float32:
        return compression, 3 if has_codecs else 1
    return compression, 2


def _compress(rows: np.ndarray, compression: int, predictor: int) -> bytes:
    """Return the bytes of a strip `[rows, W, samples]`."""
    if predictor == 2:
        rows = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))  # modulo the range of the type
    elif predictor == 3:
        rows = _import_codecs().floatpred_encode(rows, axis=-2)
    if compression == DEFLATE:
        return zlib.compress(rows, DEFLATE_LEVEL)
    if compression == LZW:
        return _import_codecs().lzw_encode(rows.tobytes())
    if compression == ZSTD:
        return _import_codecs().zstd_encode(rows.tobytes())
    return rows.tobytes()


def _import_codecs():
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs
