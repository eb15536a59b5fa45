"""`data=video data.path=DIR`: frames of clips, split by clip (videos: pip install 'sr[video]').

A clip is a video, or a folder of frames. A degradation of clips, such as data/degrade=h264, makes the LR of each clip as a
whole, once; any other one makes the LR of each frame alone.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sr.data.clip import ClipFrame, ClipLR, FrameLR, is_video, list_clips
from sr.data.clip_split import ClipSplit, split_clips
from sr.data.folder import find_folder, format_paths, to_list
from sr.data.image_set import ImageSet
from sr.data.module import SRDataModule
from sr.data.source import ImageFiles, Split
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr, PositiveInt
from sr.runtime.terminal import print_note


class Video(SRDataModule):
    """Clips of `path`: videos, folders of frames, or folders of both.

    `frames` is the number of frames of each clip that are used at most, from its beginning; `every`: only every n-th of
    them is trained on.
    """

    name = "video"

    def __init__(
        self,
        *,
        path: PathStr | Sequence[PathStr] | None,
        frames: PositiveInt | None = None,
        every: PositiveInt = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.frames, self.every = path, frames, every
        self._blocks: dict[
            ClipFrame, tuple[Sequence[ClipFrame], int]
        ] = {}  # the consecutive frames that each is one of

    def find_images(self, split: Split) -> ImageFiles | None:
        if not self.path:
            if split == "train" or self.name in self.sets[split]:
                raise UserError("data=video needs the folder of your clips: data.path=DIR")
            return None
        blocks = self._split.blocks[split]
        if not blocks and split != "train":
            return None
        step = self.every if split == "train" else 1
        return ImageFiles([frame for block in blocks for frame in self._remember(block)[::step]])

    def find_set(self, name: str, option: str) -> Path:
        """Return the folder of the evaluation set `name`, or a video."""
        files = [path for path in (self.root / name, Path(name).expanduser()) if is_video(path)]
        return files[0] if files else super().find_set(name, option)

    def find_set_images(self, folder: Path, option: str) -> ImageFiles:
        clips = self._list_clips([folder], f"{option}={folder}")
        return ImageFiles([frame for clip in clips for frame in self._remember(clip)])

    def describe_own_set(self, split: Split) -> str:
        return self._split.note

    def describe_lr(self, split: Split, index: int) -> str:
        """Return the degradation; that of whole clips gives another LR than that of single frames."""
        return super().describe_lr(split, index) + self._degrades_clips * " of clips"

    @property
    def training_name(self) -> str:
        """The names of the folders and videos, as they were typed."""
        return "+".join(Path(str(name)).name for name in to_list(self.path))

    @cached_property
    def _split(self) -> ClipSplit:
        option = f"data.path={format_paths(self.path)}"
        folders = [find_folder(str(name), self.root) for name in to_list(self.path)]
        is_used = self.name in self.sets["val"] + self.sets["test"]
        split = split_clips(self._list_clips(folders, option), option, is_used)
        if split.note:
            print_note(f"{option}: {split.note}")
        return split

    @property
    def _degrades_clips(self) -> bool:
        return getattr(self.degrade, "takes_clips", False)

    def _list_clips(self, folders: Sequence[Path], option: str) -> list[Sequence[ClipFrame]]:
        clips = [clip[: self.frames] for folder in folders for clip in list_clips(folder, option)]
        names = [clip[0].group for clip in clips]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise UserError(
                f"{option}: expected clips of different names (found {repeated[0]} twice); rename one of them"
            )
        return clips

    def _remember(self, block: Sequence[ClipFrame]) -> Sequence[ClipFrame]:
        """Remember which frames are consecutive, and return them."""
        self._blocks |= {frame: (block, k) for k, frame in enumerate(block)}
        return block

    def _open_files(self, files: ImageFiles) -> ImageSet:
        """Open frames, with the LR of their clips if the degradation takes clips."""
        if not self._degrades_clips:
            return super()._open_files(files)
        clips: dict[ClipFrame, tuple[ClipLR, str]] = {}  # by the first frame
        lr = []
        for frame in files.hr:
            block, position = self._blocks[frame]
            if block[0] not in clips:
                clip = ClipLR(block, self.degrade, self.scale)
                clips[block[0]] = clip, clip.compute_digest()
            lr.append(FrameLR(frame, clips[block[0]][0], position, clips[block[0]][1]))
        images = ImageSet(files.hr, self.scale, lr, self.memory, self.cache, self.color in ("gray", "bands"))
        _check_sizes(images)
        return images


def _check_sizes(images: ImageSet) -> None:
    """Raise `UserError` if the frames of a clip differ in size: they are no frames of one clip."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, clip, size in zip(images.names, images.clips, images.sizes, strict=True):
        (height, width), (first_height, first_width) = size, sizes.setdefault(clip, size)
        if size != sizes[clip]:
            raise UserError(
                f"data=video: {name}: expected frames of one size in a clip (found {width}×{height}, the first one "
                f"{first_width}×{first_height}); evaluate single images with another source, such as data=benchmark"
            )
