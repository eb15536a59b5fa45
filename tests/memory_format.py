"""An image format whose files are dictionary entries, to test what reads and writes through the interface of formats."""

from pathlib import Path

import torch
from torch import Tensor

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


def describe_pixels(
    pixels: Tensor, frames: int, has_alpha: bool, black: float = 0.0, white: float | None = None
) -> Header:
    """Return the header of an image of these pixels `[C, H, W]`; the range is the whole one of their dtype."""
    channels, height, width = pixels.shape
    white = white or {torch.uint8: 255.0, torch.uint16: 65535.0, torch.float32: 1.0}[pixels.dtype]
    kind = "gray" if channels == 1 else "color"
    return Header(height, width, kind, frames, "MEMORY", channels, has_alpha, pixels.dtype, black, white)


class MemoryFile(ImageFile):
    """An image that is in memory; `windows` are those that were read."""

    def __init__(self, frames: list[Frame], is_windowed: bool = True, white: float | None = None) -> None:
        first = frames[0]
        self.header = describe_pixels(first.pixels, len(frames), first.alpha is not None, white=white)
        self.metadata, self.is_windowed = Metadata(), is_windowed
        self.frames, self.windows = frames, list[Window]()

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Return a copy of the window."""
        window = window or Window(0, 0, self.header.height, self.header.width)
        self.windows.append(window)
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        pixels, alpha = self.frames[frame][:2]
        return Frame(pixels[:, rows, columns].clone(), None if alpha is None else alpha[:, rows, columns].clone())

    def close(self) -> None:
        """Do nothing."""


class MemoryWriter(ImageWriter):
    """Collects what is written; `strips` are the numbers of rows that came at once."""

    is_streaming = True

    def __init__(self, path: Path | None = None, header: Header | None = None) -> None:
        self.path, self.header = path, header
        self.pieces, self.strips = list[Frame](), list[int]()

    def write(self, frame: Frame) -> None:
        """Append rows."""
        self.pieces.append(Frame(frame.pixels.clone(), None if frame.alpha is None else frame.alpha.clone()))
        self.strips.append(frame.pixels.shape[1])

    def close(self) -> None:
        """Write a file, if there is a path."""
        if self.path is not None:
            self.path.write_bytes(self.pixels.numpy().tobytes())

    @property
    def pixels(self) -> Tensor:
        """All rows of all frames, one below the other."""
        return torch.cat([piece.pixels for piece in self.pieces], dim=1)

    @property
    def alpha(self) -> Tensor:
        """The alpha of all rows."""
        return torch.cat([piece.alpha for piece in self.pieces if piece.alpha is not None], dim=1)


class MemoryFormat(FileFormat):
    """Writes raw pixels to a file; `limits` replaces fields of the header."""

    name, suffixes = "MEMORY", (".raw",)

    def __init__(self, **limits: object) -> None:
        self.limits, self.writers = limits, list[MemoryWriter]()

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Refuse: the tests give images to the code that they test."""
        raise NotImplementedError(path)

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Return a writer, which is also in `writers`."""
        self.writers.append(MemoryWriter(path, header))
        return self.writers[-1]

    def limit_header(self, header: Header) -> Header:
        """Return the header with the limits of this object."""
        return header._replace(**self.limits)
