"""Write JPEG files strip by strip: Pillow encodes each strip, and their scans are joined by restart markers.

All strips have the same quantization and Huffman tables, and a scan begins after a restart marker as it does in a new file
(ITU-T T.81, sections E.1.4 and F.1.1.5.1), so that the pixels are those of the whole image encoded at once.
"""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sr.image.file_format import Frame, Header, ImageWriter
from sr.image.pillow_writer import stack_layers

SOI, EOI, SOF0, SOS, DRI, RST0 = 0xD8, 0xD9, 0xC0, 0xDA, 0xDD, 0xD0  # markers
MAX_INTERVAL = 65535  # blocks between restart markers
STRIP_PIXELS = 1 << 20
HEIGHT_OFFSET = 5  # in the segment SOF0


class JpegWriter(ImageWriter):
    """A baseline JPEG file. `options` are the arguments of `Image.save`, of which the metadata are stored once."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, options: dict[str, Any]) -> None:
        self._path, self._height = path, header.height
        self._options = options
        side = 16 if header.channels == 3 and options["subsampling"] else 8  # of a block, in pixels
        self._blocks = -(-header.width // side)  # in a row of blocks
        rows = min(max(1, STRIP_PIXELS // (header.width * side)), MAX_INTERVAL // self._blocks)
        self._strip = side * min(rows, -(-header.height // side))  # pixels
        self._interval = self._blocks * self._strip // side
        self._waiting: list[np.ndarray] = []  # rows that are no whole strip yet
        self._count = 0  # of them
        self._strips = 0  # that are written
        path.write_bytes(b"")

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]`."""
        layers = stack_layers(frame)
        while len(layers):
            missing = self._strip - self._count
            self._waiting.append(layers[:missing])
            self._count += len(layers[:missing])
            layers = layers[missing:]
            if self._count == self._strip:
                self._write_strip()

    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""
        if self._count:
            self._write_strip()
        with self._path.open("ab") as file:
            file.write(bytes((0xFF, EOI)))

    def _write_strip(self) -> None:
        rows = np.concatenate(self._waiting)
        self._waiting, self._count = [], 0
        buffer = io.BytesIO()
        coding = self._options if not self._strips else {k: self._options[k] for k in ("quality", "subsampling")}
        Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows).save(buffer, format="JPEG", **coding)
        head, scan = self._split(buffer.getvalue())
        with self._path.open("ab") as file:
            file.write(head if not self._strips else bytes((0xFF, RST0 + (self._strips - 1) % 8)))
            file.write(scan)
        self._strips += 1

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the head of a file, with the height of the whole image and the restart interval, and its scan."""
        head = bytes((0xFF, SOI))
        for marker, start, end in _list_segments(data):
            segment = data[start:end]
            if marker == SOF0:
                segment = segment[:HEIGHT_OFFSET] + struct.pack(">H", self._height) + segment[HEIGHT_OFFSET + 2 :]
            if marker == SOS:
                return head + struct.pack(">BBHH", 0xFF, DRI, 4, self._interval) + segment, data[end:-2]
            head += segment
        raise ValueError("no scan in an encoded strip")


def _list_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the scan."""
    start = 2
    while start < len(data):
        end = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        yield data[start + 1], start, end
        start = end
