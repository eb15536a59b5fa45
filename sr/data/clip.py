"""Clips, videos and folders of frames, as sets of frames; and the LR that a degradation makes of a whole clip."""

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from sr.data.frame_order import check_frame_order
from sr.data.image_part import ImagePart
from sr.image.file_format import Header, ImageFile
from sr.image.formats import VIDEOS, identify_kind
from sr.image.listing import is_image_name, list_images
from sr.image.read import open_image_file, probe, read_levels
from sr.runtime.error import UserError
from sr.runtime.terminal import print_note

OPEN_VIDEOS = 2
BUFFERED_FRAMES = 16  # that were decoded last: threads ask for neighboring frames in any order
_LOCK = threading.Lock()  # of open videos: their frames are decoded one after another
DegradeClip = Callable[[Iterable[Tensor], int], list[Tensor]]


@dataclass(frozen=True)
class ClipFrame(ImagePart):
    """A frame of a clip: an image file, or a frame of a video."""

    path: Path
    group: str  # the name of the clip
    frame: int
    header: Header | None = None  # of a video; None: an image file

    @property
    def name(self) -> str:
        """The name in results: that of the clip, and of the file or the number of the frame."""
        return f"{self.group}/{self.path.stem if self.header is None else f'{self.frame:05d}'}"

    @property
    def key(self) -> object:
        """Return what identifies the pixels, by its repr, among all parts of the file."""
        return "frame", self.frame if self.header else 0

    def probe(self) -> Header:
        """Return the header of the frame."""
        return (self.header or probe(self.path))._replace(frames=1)

    def read(self) -> Tensor:
        """Read the levels, uint8 or uint16 `[3 or 1, H, W]`."""
        if self.header is None:
            return read_levels(self.path)
        with _LOCK:
            return _open_video(self.path, self.path.stat().st_mtime_ns).read(self.frame)


class OpenVideo:
    """A video that is read from its beginning to its end; the last frames are buffered."""

    def __init__(self, file: ImageFile) -> None:
        self.file, self._frames = file, {}

    def read(self, frame: int) -> Tensor:
        """Return a frame, uint8 or uint16 `[3 or 1, H, W]`."""
        if frame not in self._frames:
            last = max(self._frames, default=-1)
            for k in range(last + 1 if last < frame else frame, frame + 1):
                self._frames[k] = self.file.read(k).pixels
            if last > frame:  # it was read before, and is read again from the beginning
                self._frames = {frame: self._frames[frame]}
            for k in sorted(self._frames)[:-BUFFERED_FRAMES]:
                del self._frames[k]
        return self._frames[frame]


@lru_cache(maxsize=OPEN_VIDEOS)
def _open_video(path: Path, time: int) -> OpenVideo:
    """Open a video, as it was written at `time`."""
    return OpenVideo(open_image_file(path))


class ClipLR:
    """The LR of consecutive frames of a clip, which a degradation makes together, when the first of them is asked for.

    The seed follows from the pixels of the first frame: it is the same in every run.
    """

    def __init__(self, frames: Sequence[ClipFrame], degrade: Any, scale: int) -> None:
        self.frames, self.degrade, self.scale = tuple(frames), degrade, scale
        self._lock = threading.Lock()
        self._lr: list[Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None, "_lr": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_lock": threading.Lock()}

    def read(self, position: int) -> Tensor:
        """Return the LR of the frame at a position of the clip, `[3 or 1, h, w]`."""
        with self._lock:
            if self._lr is None:
                first = self._crop(self.frames[0].read())
                seed = zlib.crc32(first.contiguous().numpy())
                self._lr = self.degrade.degrade_clip(self._iterate_frames(), seed)
            return self._lr[position]

    def compute_digest(self) -> str:
        """Return what identifies the LR: the degradation, and all frames, each of which may change all others."""
        files = {frame.path: frame.path.stat() for frame in self.frames}
        states = [(str(path), state.st_size, state.st_mtime_ns) for path, state in files.items()]
        text = repr((self.degrade, self.scale, states, [frame.frame for frame in self.frames]))
        return hashlib.sha256(text.encode()).hexdigest()

    def _iterate_frames(self) -> Iterator[Tensor]:
        """Yield the HR frames; of a video from a file of its own, so that other readers do not interfere."""
        if self.frames[0].header is None:
            yield from (self._crop(frame.read()) for frame in self.frames)
            return
        with open_image_file(self.frames[0].path) as file:
            yield from (self._crop(file.read(frame.frame).pixels) for frame in self.frames)

    def _crop(self, pixels: Tensor) -> Tensor:
        height, width = (n - n % self.scale for n in pixels.shape[-2:])
        return pixels[:, :height, :width]


@dataclass(frozen=True)
class FrameLR(ImagePart):
    """The LR of a frame."""

    frame: ClipFrame
    clip: ClipLR
    position: int  # in the clip's frames
    digest: str

    @property
    def path(self) -> Path:
        """The file of the frame."""
        return self.frame.path

    @property
    def name(self) -> str:
        """The name of the frame."""
        return self.frame.name

    @property
    def group(self) -> str:
        """The name of the clip."""
        return self.frame.group

    @property
    def key(self) -> object:
        """Return what identifies the pixels, by its repr."""
        return "lr", self.digest, self.position

    def probe(self) -> Header:
        """Return the header of LR."""
        header = self.frame.probe()
        return header._replace(height=header.height // self.clip.scale, width=header.width // self.clip.scale)

    def read(self) -> Tensor:
        """Return the levels of LR, in the type of HR."""
        return self.clip.read(self.position)


def list_clips(folder: Path, option: str) -> list[list[ClipFrame]]:
    """List the frames of each clip: of a video, of the images in `folder`, or of the videos and subfolders in it.

    Raises `UserError`, which begins with `option`, if there is none, or the names of frames do not sort in their order.
    """
    if is_video(folder):
        return [_list_video_frames(folder)]
    if folder.is_file():
        raise UserError(f"{option}: expected a video, or a folder of frames or clips (found {folder.name})")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    videos = [path for path in entries if is_video(path)]
    folders = [path for path in entries if path.is_dir() and any(map(is_image_name, path.iterdir()))]
    images = [path for path in entries if path.is_file() and is_image_name(path)]
    if not videos and not folders:
        return [_list_image_frames(folder, option)]
    if images:
        print_note(f"{option}: left out: {len(images)} image(s) next to clips")
    clips = [*map(_list_video_frames, videos), *(_list_image_frames(path, option) for path in folders)]
    return sorted(clips, key=lambda clip: clip[0].group)


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its content."""
    kind = identify_kind(path) if path.is_file() else None
    return kind is not None and kind.name in (*VIDEOS, "video")  # the last one is not read, which its reader reports


def _list_video_frames(path: Path) -> list[ClipFrame]:
    with open_image_file(path) as file:
        header = file.header
    return [ClipFrame(path, path.stem, k, header) for k in range(header.frames)]


def _list_image_frames(folder: Path, option: str) -> list[ClipFrame]:
    files = list_images(folder, option, is_complete=True)
    check_frame_order(files, option)
    return [ClipFrame(path, folder.resolve().name, k) for k, path in enumerate(files)]
