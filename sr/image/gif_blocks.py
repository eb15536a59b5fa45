"""Walk through the blocks of a GIF file without decoding it (GIF89a specification, sections 18 to 26)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 13  # signature and logical screen descriptor
EXTENSION, IMAGE, END = b"!", b",", b";"


def iterate_frame_sizes(path: Path) -> Iterator[tuple[int, int]]:
    """Yield right and bottom edge of each frame on the canvas, in pixels, up to the end of the file or to damage."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return
        _skip_palette(file, header[10])
        while block := file.read(1):
            if block == EXTENSION:
                file.seek(1, 1)
            elif block == IMAGE:
                descriptor = file.read(9)
                if len(descriptor) < 9:
                    return
                left, top, width, height = struct.unpack_from("<4H", descriptor)
                yield left + width, top + height
                _skip_palette(file, descriptor[8])
                file.seek(1, 1)  # bits of a code
            elif block == END:
                return
            else:  # decoders skip what they do not know
                continue
            while size := file.read(1):
                if size == b"\0":
                    break
                file.seek(size[0], 1)


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)
