"""Netpbm: PPM, PGM, PBM and PAM, 8 or 16 bits per channel, read in windows and written row by row.

The formats are those of Netpbm's manual pages ppm(5), pgm(5), pbm(5) and pam(5).
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sr.image.damage import UnsupportedImageError, report_damage
from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    Window,
    WriteOptions,
)
from sr.image.limits import check_decoded_size
from sr.image.pillow_writer import check_size, stack_layers

HEAD_BYTES = 4096  # of a header with its comments
TOKENS = re.compile(rb"(?:\s|#[^\n]*\n)*([^\s#]+)")
CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
TEXT_KINDS, BITMAP_KINDS = (b"P1", b"P2", b"P3"), (b"P1", b"P4")
MAX_SIDE = 2**31 - 1


class _Layout(NamedTuple):
    """One image of a file."""

    kind: bytes  # P1…P7
    height: int
    width: int
    layers: int  # alpha included
    maximum: int  # the level of white
    start: int  # offset of the pixels

    @property
    def row_bytes(self) -> int:
        """The bytes of a row, in a binary file."""
        samples = self.width * self.layers
        return -(-samples // 8) if self.kind == b"P4" else samples * (1 + (self.maximum > 255))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and layers."""
        return self.height, self.width, self.layers


class NetpbmFile(ImageFile):
    """A Netpbm file. Levels up to 255 are scaled to 0…255; of 16 bits they are read as they are, `white` their maximum."""

    def __init__(self, path: Path) -> None:
        self.path, self._text = path, None
        self._layouts = _list_layouts(path)
        first = self._layouts[0]
        if any(layout[:5] != first[:5] for layout in self._layouts):
            raise UnsupportedImageError(f"{path}: expected images of one size and kind in one file; split it")
        if first.layers > 4:
            raise UnsupportedImageError(f"{path}: expected 1 to 4 channels (found {first.layers}); convert it first")
        self.is_windowed = first.kind not in TEXT_KINDS
        is_gray, is_deep = first.layers < 3, first.maximum > 255
        self.header = Header(
            first.height, first.width, "gray" if is_gray else "color", len(self._layouts), "Netpbm", 1 if is_gray else 3,
            first.layers in (2, 4), torch.uint16 if is_deep else torch.uint8, white=first.maximum if is_deep else 255.0,
        )  # fmt: skip
        self.metadata = Metadata()
        if not self.is_windowed:
            check_decoded_size(path, first.height, first.width * first.layers, 8)

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        top, left, height, width = window or Window(0, 0, *self.header[:2])
        layout = self._layouts[frame]
        with report_damage(self.path):
            rows = self._read_rows(layout, top, height)[:, left : left + width]
        if layout.kind in BITMAP_KINDS:
            rows = 1 - rows
        if layout.maximum < 255:
            scaled = np.minimum(rows, layout.maximum).astype(np.uint32) * 510 + layout.maximum
            rows = scaled // (2 * layout.maximum)  # rounded half up
        dtype = np.uint16 if layout.maximum > 255 else np.uint8
        layers = torch.from_numpy(np.minimum(rows, self.header.white).astype(dtype)).permute(2, 0, 1).contiguous()
        count = self.header.channels
        return Frame(layers[:count], layers[count:] if self.header.has_alpha else None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._text = None

    def _read_rows(self, layout: _Layout, top: int, height: int) -> np.ndarray:
        """Return rows `[height, W, layers]` as stored."""
        if layout.kind in TEXT_KINDS:
            if self._text is None:
                self._text = _read_text(self.path, layout)
            return self._text[top : top + height]
        with self.path.open("rb") as file:
            file.seek(layout.start + top * layout.row_bytes)
            data = file.read(height * layout.row_bytes)
        if layout.kind == b"P4":
            bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(height, -1), axis=1)
            return bits[:, : layout.width, None]
        return np.frombuffer(data, ">u2" if layout.maximum > 255 else np.uint8).reshape(height, *layout.shape[1:])


def _list_layouts(path: Path) -> list[_Layout]:
    """Read the headers of all images in a file. Raise `UserError` if it is damaged or ends early."""
    layouts: list[_Layout] = []
    size = path.stat().st_size
    with report_damage(path), path.open("rb") as file:
        start = 0
        while not layouts or start < size:
            file.seek(start)
            head = file.read(HEAD_BYTES)
            if layouts and not head.strip():
                break  # an empty line after the pixels
            layout = _parse_header(head, start)
            layouts.append(layout)
            if layout.kind in TEXT_KINDS:
                if layout.height * layout.width * layout.layers > size:
                    raise ValueError(
                        f"its header announces {layout.width}×{layout.height} pixels, more than it can hold"
                    )
                break
            start = layout.start + layout.height * layout.row_bytes
            if start > size:
                expected = layout.height * layout.row_bytes
                raise ValueError(f"its pixels end after {size - layout.start} of {expected} bytes")
    return layouts


def _parse_header(head: bytes, start: int) -> _Layout:
    """Parse a header that begins at byte `start` of its file. Raise `ValueError` if it is damaged."""
    kind = head[:2]
    if kind == b"P7":
        fields, end = _parse_pam_fields(head)
        layers = fields[b"DEPTH"]
    elif kind in CHANNELS:
        names = (b"WIDTH", b"HEIGHT") + (b"MAXVAL",) * (kind not in BITMAP_KINDS)
        fields, end = {b"MAXVAL": 1}, 2
        for name in names:
            token = TOKENS.match(head, end)
            if not token or not token[1].isdigit():
                raise ValueError(f"its header has no {name.decode().lower()}")
            fields[name], end = int(token[1]), token.end()
        layers, end = CHANNELS[kind], end + 1  # one white space before the pixels
    else:
        raise ValueError("its header begins with none of P1 to P7")
    height, width, maximum = (fields.get(name, 0) for name in (b"HEIGHT", b"WIDTH", b"MAXVAL"))
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and 0 < maximum < 65536 and layers > 0):
        raise ValueError(f"its header announces {width}×{height} pixels with levels up to {maximum}")
    return _Layout(kind, height, width, layers, maximum, start + end)


def _parse_pam_fields(head: bytes) -> tuple[dict[bytes, int], int]:
    """Return the numbers of the header of a PAM, and its length."""
    head, mark, _ = head.partition(b"ENDHDR\n")
    if not mark:
        raise ValueError("its header has no end")
    words = (line.split() for line in head.splitlines())
    fields = {line[0]: int(line[1]) for line in words if len(line) == 2 and line[1].isdigit()}
    return {b"DEPTH": 0} | fields, len(head) + len(mark)


def _read_text(path: Path, layout: _Layout) -> np.ndarray:
    """Return the pixels of a text file, `[H, W, layers]`. Raise `ValueError` if there are too few."""
    with path.open("rb") as file:
        file.seek(layout.start)
        text = re.sub(rb"#[^\n]*", b"", file.read())
    count = layout.height * layout.width * layout.layers
    if layout.kind == b"P1":  # digits need no space between them
        levels = np.frombuffer(re.sub(rb"\s+", b"", text), np.uint8)[:count] - ord("0")
    else:
        levels = np.array(text.split()[:count], dtype=np.int64)
    if len(levels) < count or levels.max() > max(layout.maximum, 1) or levels.min() < 0:
        raise ValueError(f"expected {count} levels of 0 to {layout.maximum} (found {len(levels)} numbers)")
    return levels.reshape(layout.shape)


class NetpbmWriter(ImageWriter):
    """A PGM or PPM file, or a PAM with alpha; further frames follow as images of their own."""

    is_streaming = True

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._height, self._count = path, header.height, 0  # rows of the current frame
        size = f"{header.width} {header.height}"
        maximum = int(header.white)
        if header.has_alpha:
            kind = "GRAYSCALE_ALPHA" if header.channels == 1 else "RGB_ALPHA"
            words = f"WIDTH {header.width}", f"HEIGHT {header.height}", f"DEPTH {header.channels + 1}"
            head = "\n".join(("P7", *words, f"MAXVAL {maximum}", f"TUPLTYPE {kind}", "ENDHDR"))
        else:
            head = f"P{5 if header.channels == 1 else 6}\n{size}\n{maximum}"
        self._head = f"{head}\n".encode()
        path.write_bytes(b"")

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current frame; after `header.height` rows the next frame begins."""
        rows = stack_layers(frame)
        with self._path.open("ab") as file:
            if self._count == 0:
                file.write(self._head)
            file.write(rows.astype(rows.dtype.newbyteorder(">"), copy=False).tobytes())
        self._count = (self._count + len(rows)) % self._height

    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""


class NetpbmFormat(FileFormat):
    """PPM, PGM, PBM and PAM."""

    name, suffixes = "Netpbm", (".ppm", ".pgm", ".pbm", ".pnm", ".pam")

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file of this format. Raise `UserError` if it is damaged or its pixels are not read."""
        return NetpbmFile(path)

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        return NetpbmWriter(path, header)

    def limit_header(self, header: Header) -> Header:
        """Return what this format can hold that is next to `header`: integers of 8 or 16 bits, the latter up to any white.

        Raise `UserError` if it has too many bands.
        """
        check_size(header, self.name, MAX_SIDE)
        if header.dtype == torch.uint8:
            return header._replace(format=self.name, black=0.0, white=255.0)
        white = header.white if header.dtype == torch.uint16 and header.black == 0 and header.white > 255 else 65535.0
        return header._replace(format=self.name, dtype=torch.uint16, black=0.0, white=white)


FORMAT = NetpbmFormat()
