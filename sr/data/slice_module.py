"""The base class of `data=dicom` and `data=nifti`: slices of gray, whose values a range maps to 16 bits."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from sr.data.file_errors import FileError
from sr.data.folder import find_folder, format_paths, to_list
from sr.data.image_part import name_images
from sr.data.module import SRDataModule
from sr.data.slice import Slice
from sr.data.slice_split import SliceSplit, Volume, split_slices
from sr.data.source import ImageFiles, Split
from sr.image.damage import UnsupportedImageError
from sr.image.file_format import ImageFile, ReadOptions
from sr.image.read import open_image_file
from sr.metric.protocol import Protocol
from sr.runtime.cores import create_thread_pool
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr, ValueRange
from sr.runtime.terminal import ProgressBar, print_note

MAX_RANGES = 3  # that are printed


class VolumePart(NamedTuple):
    """The slices of one file, and the volume that they belong to."""

    volume: str  # what identifies the volume; never shown
    patient: str  # what identifies the patient, never shown; empty: the file is of a patient of its own
    slices: list[Slice]  # with what distinguishes the slices of a file as their names
    flat: int  # slices left out, because all of their pixels are equal
    notes: tuple[str, ...]  # what is black and white


class SliceModule(SRDataModule):
    """Slices of the volumes in folders, whose subfolders are read as well; LR is made from them.

    `range` are the values of black and white, in the unit of the files; None: those that the format chooses for a volume.
    Slices whose pixels are all equal are left out. `panels` shows slices in panels, which trackers store.
    """

    kind: str  # of files, in messages
    default_range: str  # what is black and white without `range`, in the protocol

    def __init__(
        self,
        *,
        path: PathStr | Sequence[PathStr] | None,
        range: ValueRange | None = None,
        panels: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.has_panels = path, panels
        self.range = None if range is None else (float(range[0]), float(range[1]))

    @abstractmethod
    def list_files(self, folder: Path) -> list[Path]:
        """List the files in a folder and below it that hold slices, sorted; of a file itself this file."""

    @abstractmethod
    def read_part(self, path: Path, file: Any) -> VolumePart:
        """Return the slices of an opened `ImageFile`. Raise `UnsupportedImageError` if they are no gray."""

    @property
    def options(self) -> ReadOptions:
        """The options with which files are opened."""
        return ReadOptions(range=self.range)

    def set_protocol(self, protocol: Protocol) -> None:
        """Prepare slices as a protocol evaluates them, and state in it what black and white are."""
        super().set_protocol(protocol)
        protocol.default_range = self.default_range

    def find_images(self, split: Split) -> ImageFiles | None:
        if not self.path:
            if split == "train" or self.name in self.sets[split]:
                raise UserError(f"data={self.name} needs the folder of your volumes: data.path=DIR")
            return None
        slices = self._split.slices[split]
        return ImageFiles(slices) if slices or split == "train" else None

    def find_set_images(self, folder: Path, option: str) -> ImageFiles:
        volumes = self._list_volumes([folder], f"{option}={folder}", is_complete=True)
        return ImageFiles([one for volume in volumes for one in volume.slices])

    def describe_own_set(self, split: Split) -> str:
        return self._split.note

    @property
    def training_name(self) -> str:
        """The folders' names, as they were typed."""
        return "+".join(Path(str(name)).name for name in to_list(self.path))

    @cached_property
    def _split(self) -> SliceSplit:
        option = f"data.path={format_paths(self.path)}"
        folders = [find_folder(str(name), self.root) for name in to_list(self.path)]
        is_used = self.name in self.sets["val"] + self.sets["test"]
        split = split_slices(self._list_volumes(folders, option, is_complete=False), option, is_used)
        if split.note:
            print_note(f"{option}: {split.note}")
        return split

    def _list_volumes(self, folders: Iterable[Path], option: str, is_complete: bool) -> list[Volume]:
        """Return the volumes in folders, their slices sorted by position.

        A file that holds no slices is left out, or an error if the set `is_complete`. Raises `FileError` for damaged files.
        """
        files = list(dict.fromkeys(file for folder in folders for file in self.list_files(folder)))
        if not files:
            raise UserError(f"{option}: expected {self.kind} files in this folder or below it (found none)")
        with create_thread_pool() as pool:
            bar = ProgressBar(pool.map(self._try_read, files), total=len(files), desc="slices", unit="file", delay=2)
            found = dict(zip(files, bar, strict=True))
        errors = [str(x) for x in found.values() if isinstance(x, UserError) and not _is_left_out(x, is_complete)]
        if errors:
            raise FileError("\n".join(errors))
        parts = [part for part in found.values() if isinstance(part, VolumePart)]
        self._report(option, found, parts)
        volumes: dict[str, list[VolumePart]] = {}
        for part in parts:
            volumes.setdefault(part.volume, []).append(part)
        names = dict(zip(files, map(_remove_suffix, name_images(files)), strict=True))
        joined = (_join(members, names, f"volume {k}") for k, members in enumerate(volumes.values(), 1))
        return [volume for volume in joined if volume.slices]

    def _try_read(self, path: Path) -> VolumePart | UserError:
        try:
            with open_image_file(path, self.options) as file:
                return self.read_part(path, file)
        except UserError as error:
            return error

    def _report(self, option: str, found: dict[Path, VolumePart | UserError], parts: Sequence[VolumePart]) -> None:
        """Print what is left out, and the range. Raise `UserError` if no slice is left."""
        others = [path for path, part in found.items() if isinstance(part, UserError)]
        flat = sum(part.flat for part in parts)
        left_out = [f"{len(others)} file(s) without slices of gray ({others[0].name} …)"] if others else []
        left_out += [f"{flat} slice(s) whose pixels are all equal"] if flat else []
        if left_out:
            print_note(f"{option}: left out: {', '.join(left_out)}")
        if not any(part.slices for part in parts):
            reason = f": {found[others[0]]}" if others else ""
            raise UserError(f"{option}: expected slices of gray (found none{reason}); name another folder")
        ranges = list(dict.fromkeys(note for part in parts if part.slices for note in part.notes))
        more = f" and {len(ranges) - MAX_RANGES} other ranges" if len(ranges) > MAX_RANGES else ""
        if ranges:
            print_note(f"{option}: {'; '.join(ranges[:MAX_RANGES])}{more}")


def is_flat(file: ImageFile, frame: int) -> bool:
    """Return whether all pixels of a frame are equal: PSNR would be infinite."""
    pixels = file.read(frame).pixels
    return bool((pixels == pixels.flatten()[0]).all())


def _is_left_out(error: UserError, is_complete: bool) -> bool:
    return isinstance(error, UnsupportedImageError) and not is_complete


def _remove_suffix(name: str) -> str:
    return name.removesuffix(".nii")  # of .nii.gz


def _join(parts: Sequence[VolumePart], names: Mapping[Path, str], number: str) -> Volume:
    """Return the volume of some files, whose names are `names`: its slices, named and in the order of their positions."""
    files = [one.path for part in parts for one in part.slices]
    group = names[files[0]] if len(set(files)) == 1 else number
    slices = [
        replace(one, name="_".join(filter(None, (names[one.path], one.name))), group=group)
        for part in parts
        for one in part.slices
    ]
    return Volume(parts[0].patient or group, sorted(slices, key=lambda one: (one.position, one.name)))


def list_visible_files(folder: Path) -> list[Path]:
    """List the files in a folder and below it, sorted, without hidden ones and those in hidden folders; of a file itself."""
    if folder.is_file():
        return [folder]
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if not any(x.startswith(".") for x in path.relative_to(folder).parts))
