"""Videos as image files whose frames are decoded one after another (pip install 'sr[video]')."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sr.image.damage import ADVICE
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
from sr.image.format.video_layout import read_frame, turn_upright
from sr.image.format.video_library import finish_decoding, import_library, report_video_damage
from sr.image.format.video_scan import (
    LOSSLESS,
    VideoScan,
    check_progressive,
    find_stream,
    open_container,
    scan_video,
    start_decoder,
)
from sr.image.format.video_writer import VideoWriter
from sr.image.formats import VIDEOS
from sr.runtime.error import UserError

PREVIEW_FRAME = 100  # the last one that represents a video: those before it have to be decoded


class VideoNative(NamedTuple):
    """Hold what the result of a video gets of it."""

    scan: VideoScan
    names: tuple[str, ...]  # of what images do not hold


class VideoFile(ImageFile):
    """A video. Frames are upright; reading one that lies before the last one starts again from the first."""

    def __init__(self, path: Path, name: str, scan: VideoScan) -> None:
        self.path, self.scan = path, scan
        is_turned = scan.matrix[0] == 0
        height, width = (scan.width, scan.height) if is_turned else (scan.height, scan.width)
        is_gray, is_8_bit = scan.layout.kind == "gray", scan.layout.bits == 8
        self.header = Header(
            height, width, "gray" if is_gray else "color", scan.frames, name, 1 if is_gray else 3,
            scan.layout.has_alpha, torch.uint8 if is_8_bit else torch.uint16, white=255.0 if is_8_bit else 65535.0,
        )  # fmt: skip
        unit = 1000 * scan.time_base
        self.metadata = Metadata(
            durations=tuple(float(unit * duration) for duration in scan.durations.tolist()),
            is_lossless=scan.codec in LOSSLESS,
            unread=scan.lost,
            native=VideoNative(scan, self._list_parts()),
        )
        self.notes = scan.notes
        self.middle = min(scan.frames // 2, PREVIEW_FRAME)
        self._container: Any = None
        self._stream: Any = None  # of the container, whose decoder is started
        self._frames: Iterator[Any] = iter(())
        self._next, self._number = 0, -1  # the frame that is decoded next, and the one that is held
        self._held: Frame | None = None

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        if frame != self._number:
            self._held = None
            with report_video_damage(self.path):
                self._held = self._decode(frame)
            self._number = frame
        top, left, height, width = window or Window(0, 0, *self.header[:2])
        rows, columns = slice(top, top + height), slice(left, left + width)
        return Frame(*(None if layer is None else layer[:, rows, columns] for layer in self._held))

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._frames, self._held, self._number = iter(()), None, -1
        if self._container is not None:
            if self._stream is not None:
                finish_decoding(self._stream)
            self._container.close()
            self._container = self._stream = None

    def _decode(self, number: int) -> Frame:
        if self._container is None or number < self._next:
            self.close()
            self._container = open_container(self.path)
            self._stream = find_stream(self._container, self.path)
            start_decoder(self._stream)
            self._frames, self._next = self._container.decode(self._stream), 0
        while True:
            decoded = next(self._frames, None)
            if decoded is None or decoded.pts != self.scan.times[self._next] or decoded.is_corrupt:
                raise UserError(
                    f"{self.path}: this video is damaged (its frame {self._next + 1} of {self.scan.frames} cannot be "
                    f"decoded); {ADVICE}"
                )
            self._next += 1
            if self._next > number:
                return self._convert(decoded)

    def _convert(self, decoded: Any) -> Frame:
        scan = self.scan
        expected = (scan.width, scan.height)
        if (decoded.width, decoded.height) != expected:
            raise UserError(
                f"{self.path}: its frame {self._next} has {decoded.width}×{decoded.height} pixels, and the first one "
                f"{expected[0]}×{expected[1]}; cut the video there"
            )
        check_progressive(decoded, self.path)
        pixels, alpha = read_frame(decoded, scan.layout, scan.coding)
        layers = (pixels, alpha)
        return Frame(*(None if layer is None else turn_upright(layer, scan.matrix).contiguous() for layer in layers))

    def _list_parts(self) -> tuple[str, ...]:
        with report_video_damage(self.path), open_container(self.path) as container:
            kinds = {stream.type for stream in container.streams} - {"video"}
            names = [name for kind, name in (("audio", "audio"), ("subtitle", "subtitles")) if kind in kinds]
            return (*names, *["chapters"] * bool(container.chapters()))


class VideoFormat(FileFormat):
    """A container of video. `muxer` is FFmpeg's name of it."""

    extra, is_native, family = "video", True, VIDEOS
    held = ("durations",)
    muxer: str

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read all packets of a file without decoding them. Raise `UserError` if it is damaged or not read."""
        import_library(path, f"a video ({self.name})")
        return VideoFile(path, self.name, scan_video(path))

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        library = import_library(path, f"a video ({self.name})")
        return VideoWriter(library, path, self, header, metadata.native.scan, options)

    def limit_header(self, header: Header) -> Header:
        """Return the header as it is: what the codec does not hold is known when it is chosen."""
        return header
