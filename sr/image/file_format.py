"""Interface of image formats: a `FileFormat` opens files as `ImageFile` and creates them as `ImageWriter`.

Each format is a module in `sr/image/format/` and a line in `sr/image/formats.py`. Pixels have the depth of the file: uint8,
uint16 or float32, and `black` and `white` of the `Header` are their range; nobody outside needs to know what 255 is.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor


class Window(NamedTuple):
    """A rectangle of an upright image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Header(NamedTuple):
    """Describe an image file as its header does, after its EXIF orientation is applied."""

    height: int
    width: int
    kind: str  # gray or color
    frames: int = 1  # of an animation, or pages, or slices
    format: str = "PNG"  # name of the `FileFormat`
    channels: int = 3  # of the pixels, alpha not counted: 1 (gray), 3 (RGB), or the number of bands
    has_alpha: bool = False
    dtype: torch.dtype = torch.uint8  # of the pixels as they are read: uint8, uint16, float32
    black: float = 0.0  # the value that becomes 0, and that which becomes 1, in a network's input
    white: float = 255.0
    is_limited: bool = True  # integers of a result are within black…white; False: only their type limits them
    grows: tuple[bool, bool] = (True, True)  # height, width: False if a result has the source's
    has_mask: bool = False  # `Frame.valid` states which samples are data

    @property
    def pixel_bytes(self) -> int:
        """The bytes of one decoded pixel."""
        return (self.channels + self.has_alpha) * self.dtype.itemsize


class Metadata(NamedTuple):
    """Hold what a file has besides its pixels, and what a result gets of it."""

    icc: bytes | None = None  # color profile of the pixels as they are read
    exif: bytes | None = None  # orientation applied and reset to 1, without the thumbnail
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    durations: tuple[float, ...] = ()  # of the frames of an animation, ms
    is_lossless: bool = False  # stored without loss in a format that has both, such as WebP
    loops: int | None = None  # 0: for ever
    texts: dict[str, str] = {}  # noqa: RUF012  a NamedTuple's default is never changed
    unread: tuple[str, ...] = ()  # names of what no result gets: `GeoTIFF tags`, `IPTC`
    native: Any = None  # what only the same format writes, such as IPTC in TIFF; its `names` are lost in others


class Frame(NamedTuple):
    """The pixels of one frame, or of a window of it."""

    pixels: Tensor  # [channels, H, W] in the header's dtype
    alpha: Tensor | None = None  # [1, H, W], likewise
    # bool [1 or channels, H, W], of a file with a mask: False where a sample is no data but an estimate from its neighbors.
    valid: Tensor | None = None


class ImageFile(ABC):
    """An opened image file; a context manager that closes it."""

    header: Header
    metadata: Metadata
    has_palette: bool = False  # True: the colors are those of a palette
    display: tuple[float, float] | None = (
        None  # the pixel values that a viewer shows black and white; None: the header's
    )
    notes: tuple[str, ...] = ()  # what a user should know of how it is read
    middle: int = 0  # the number of the frame that represents the file in a preview
    is_windowed: bool = False  # True: `read` of a window decodes hardly more than it; False: the whole frame at first

    @abstractmethod
    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""

    @abstractmethod
    def close(self) -> None:
        """Close the file, and release what was decoded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ImageWriter(ABC):
    """A file that is written from top to bottom, frame after frame."""

    is_streaming: bool = False  # True: rows are encoded as they come; False: the whole frame is held until its end
    held_bytes: int = 0  # that it needs if it is streaming, but for some rows
    frames_done: int = 0  # frames that a process that was stopped has encoded: the first one to be written is the next
    notes: tuple[str, ...] = ()  # what a user should know of how it is written, complete after `close`

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current frame; after `header.height` rows the next frame begins."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""

    def discard(self) -> None:  # noqa: B027
        """Remove what is left next to the file for the next start, after an error that would come again."""

    def suspend(self) -> None:  # noqa: B027
        """Release what is held, after an error that need not come again; `frames_done` is for the next start."""


class WriteOptions(NamedTuple):
    """Options of `FileFormat.create`."""

    quality: int | None = None  # 1…100 of lossy formats; None: the format's default
    lossless: bool = False  # of formats that have both
    process: str = ""  # what makes the result: `x2 by small_x2`
    identity: str = ""  # a digest of the network and all options: results of one series have one
    suffix: str = ""  # of the result's name, such as .nii.gz; the path that is written has another one
    codec: str | None = None  # of a video: h264, hevc …; None: that of its source
    crf: int | None = None  # of a video, 0…63, lower is better; None: the codec's default
    unfinished: Path | None = None  # a file for what a process that is stopped leaves to the next one; None: nothing


class ReadOptions(NamedTuple):
    """Options of `FileFormat.open`, and of sr.predict: what of a file is the image."""

    bands: tuple[int, ...] | None = None  # their numbers, from 1, in the order of the channels; None: all
    axis: str | None = (
        None  # of a volume: the axis across which slices are thick, along which it is upscaled; None: in plane
    )

    range: tuple[float, float] | str | None = None  # values that become 0…1, or `window`: those that a viewer shows


READ_ALL = ReadOptions()


class FileFormat(ABC):
    """A kind of image files. `extra` is the optional dependency `sr[extra]` that it needs, if any."""

    name: str  # as `Header.format`, and what `format=` of sr.predict names in small letters
    suffixes: tuple[str, ...]  # the first one is given to results
    extra: str | None = None
    can_write: bool = True
    has_quality: bool = False  # it is lossy: `WriteOptions.quality` changes the result
    held: tuple[str, ...] = ()  # the fields of `Metadata` that it writes; of `texts` maybe only the `comment`
    reads_gzip: bool = False  # files that are compressed by gzip are opened as well
    is_native: bool = False  # it is written of images of this format, or of its `family`, only, with their depth
    holds_mask: bool = False  # `Frame.valid` is written; in other formats samples without data are black
    family: tuple[str, ...] = ()  # names of the formats that it shares the contents with, as video files do
    read_options: tuple[str, ...] = ()  # the fields of `ReadOptions` that it takes; `open` gets no others

    @abstractmethod
    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file of this format. Raise `UserError` if it is damaged or its pixels are not read."""

    @abstractmethod
    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""

    @abstractmethod
    def limit_header(self, header: Header) -> Header:
        """Return what this format can hold that is next to `header`: fewer frames, no alpha, 8 bits instead of 16.

        Raise `UserError` if it cannot hold the image at all, because it is too large or has too many bands.
        """
