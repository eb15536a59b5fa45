"""Walk through the blocks of a GIF file without decoding it (GIF89a specification, sections 18 to 26)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEADER_BYTES = 13  # signature and logical screen descriptor
EXTENSION, IMAGE, END = b"!", b",", b";"
CONTROL = b"\xf9"  # label of the extension that states how the next frame is shown


class GifFrame(NamedTuple):
    """A frame: its place on the canvas in pixels, and how it is shown."""

    left: int
    top: int
    width: int
    height: int
    disposal: int = 0  # what becomes of it before the next one; 2: its area becomes transparent
    is_transparent: bool = False
    duration: float = 0.0  # ms


def iterate_frames(path: Path) -> Iterator[GifFrame]:
    """Yield the frames up to the end of the file or to damage."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return
        _skip_palette(file, header[10])
        control: tuple[int, bool, float] = (0, False, 0.0)
        while block := file.read(1):
            if block == EXTENSION:
                if file.read(1) == CONTROL:
                    control = _peek_control(file)
            elif block == IMAGE:
                descriptor = file.read(9)
                if len(descriptor) < 9:
                    return
                left, top, width, height = struct.unpack_from("<4H", descriptor)
                yield GifFrame(left, top, width, height, *control)
                control = (0, False, 0.0)
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


def _peek_control(file: BinaryIO) -> tuple[int, bool, float]:
    """Return disposal, transparency and duration of the next frame, in ms, and stay at the start of the block."""
    data = file.read(4)
    file.seek(-len(data), 1)
    _, flags, duration = struct.unpack("<BBH", data.ljust(4, b"\0"))
    return flags >> 2 & 7, bool(flags & 1), 10.0 * duration


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)
