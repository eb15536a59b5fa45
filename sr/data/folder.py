"""`data=folder data.path=DIR`: folders of HR images; LR is made from them."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sr.data.evaluation_set import find_hr_folder, report_images_outside_hr
from sr.data.module import SRDataModule
from sr.data.source import ImageFiles, Split
from sr.image.listing import list_images
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.option_types import PathStr

HELD_OUT_INTERVAL = 10  # every tenth image is held out for evaluation …
MAX_HELD_OUT = 20  # … at most this many


class Folder(SRDataModule):
    """Images of the folders `path`; every tenth (at least one, at most 20) is held out as the evaluation set `folder`,
    unless neither `val` nor `test` names that set. `exclude` names images to leave out."""

    name = "folder"

    def __init__(
        self, *, path: PathStr | Sequence[PathStr] | None, exclude: Sequence[str | int] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not path:
            raise UserError("data=folder needs the folder of your HR images: data.path=DIR")
        self.path, self.exclude = path, exclude

    def find_images(self, split: Split) -> ImageFiles:
        held_out = self._held_out
        return ImageFiles([path for path in self._files if (path in held_out) == (split != "train")])

    def describe_own_set(self, split: Split) -> str:
        return f"these are the {len(self._held_out)} images that data={self.name} holds out, not the whole folder"

    @property
    def training_name(self) -> str:
        """The folders' names, as they were typed: `T91+train`."""
        return "+".join(Path(str(name)).name for name in to_list(self.path))

    @property
    def folders(self) -> list[Path]:
        """The folders that the images are in."""
        return [find_hr_folder(find_folder(str(name), self.root)) for name in to_list(self.path)]

    @cached_property
    def _files(self) -> list[Path]:
        return list_folder_images(self.path, self.exclude, self.root)

    @cached_property
    def _held_out(self) -> set[Path]:
        is_used = self.name in self.sets["val"] + self.sets["test"]
        return set(self._files[::HELD_OUT_INTERVAL][:MAX_HELD_OUT]) if is_used and len(self._files) > 1 else set()


def list_folder_images(path: str | Sequence[str], exclude: Sequence[Any] | None, root: Path) -> list[Path]:
    """List the images of `data.path`, one folder or several, without those that `data.exclude` names.

    A folder is a path, or the name of a set under `root`; its images are in its subfolder `HR`, if it has one.
    """
    typed = [find_folder(str(name), root) for name in to_list(path)]
    folders = [find_hr_folder(folder) for folder in typed]
    repeated = [folder for folder in folders if folders.count(folder) > 1]
    if repeated:
        raise UserError(f"data.path={format_paths(path)}: {repeated[0]} is named twice")
    for folder in typed:
        report_images_outside_hr(folder, "data.path")
    files = [file for folder in folders for file in list_images(folder, "data.path")]
    if isinstance(exclude, str | int):
        raise UserError(f"data.exclude={exclude}: expected a list: data.exclude=[{exclude}]")
    excluded = {str(name) for name in exclude or []}
    names = {word for file in files for word in (file.stem, file.name)}
    for name in sorted(excluded - names):
        hint = _suggest_quotes(name, names) if int in map(type, exclude) else ""
        raise UserError(
            f"data.exclude={name}: no image of this name in data.path={format_paths(path)}."
            f"{hint or suggest_nearest(name, names)}"
        )
    remaining = [file for file in files if not {file.stem, file.name} & excluded]
    if not remaining:
        raise UserError(f"data.exclude={format_paths(exclude)}: no image of data.path={format_paths(path)} is left")
    return remaining


def _suggest_quotes(name: str, names: Iterable[str]) -> str:
    """Return the advice for a name of digits that YAML reads as a number, and one that begins with 0 as an octal one."""
    if not name.isdecimal():
        return ""
    written = [other for other in names if other.isdecimal() and int(name) in (int(other), _read_octal(other))]
    quoted = ", ".join(f"'{other}'" for other in sorted(written)) or "'0010'"
    return f" YAML reads 0010 as the number 8: put names of digits in quotes, exclude: [{quoted}]"


def _read_octal(name: str) -> int | None:
    return int(name, 8) if set(name) <= set("01234567") else None


def to_list(path: str | Sequence[str]) -> Sequence[str]:
    """Return the paths of an option that takes one or several."""
    return [path] if isinstance(path, str | Path) else path


def find_folder(name: str, root: Path) -> Path:
    """Return the folder that `name` means: a path if it exists, else a set under `root`."""
    path = Path(name).expanduser()
    path = path if path.exists() else root.expanduser() / name
    if not path.exists():
        folders = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        raise UserError(
            f"data.path={name}: there is no such folder, nor one under paths.data={root}.{suggest_nearest(name, folders)}"
        )
    return path


def format_paths(value: str | Sequence[Any]) -> str:
    """Format the value of an option that takes one or several paths, or names, as it is typed."""
    return str(value) if isinstance(value, str | Path) else f"[{','.join(map(str, value))}]"
