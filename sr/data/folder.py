"""`data=folder data.path=DIR`: folders of HR images; LR is made from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr.data.image_set import ImageSet
from sr.data.module import SRDataModule, check_sizes, hr_folder, split_held_out
from sr.data.patches import Patches
from sr.image.read import list_images
from sr.runtime.error import UserError, suggest_nearest


class Folder(SRDataModule):
    """Trains on the pictures of `path`; every tenth (one at least, twenty at most) is held out as the set `folder`."""

    name = "folder"

    def __init__(
        self, *, path: str | Sequence[str] | None, patch: int, exclude: Sequence[Any] | None = None, **dials: Any
    ) -> None:
        super().__init__(**dials)
        if not path:
            raise UserError("data=folder needs to know the folder of your HR images: data.path=DIR")
        self.path, self.patch, self.exclude = path, patch, exclude
        self._parts: tuple[ImageSet, ImageSet] | None = None

    def build_training_set(self) -> Patches:
        pictures, held = self._split()
        patches = self.build_patches(pictures, self.patch)
        patches.pictures.load(held)
        return patches

    def build_held_out_set(self, stage: str) -> ImageSet:
        held = self._split()[1]
        check_sizes(held, f"data.{stage}={self.name}")
        return held

    @property
    def training_name(self) -> str:
        """The folders' names, as they were typed: `T91+train`."""
        return "+".join(Path(str(name)).name for name in _listed(self.path))

    def _all(self) -> ImageSet:
        return self.open_images(list_folder_images(self.path, self.exclude, self.root))

    def _split(self) -> tuple[ImageSet, ImageSet]:
        if self._parts is None:
            pictures = self._all()
            if self.name not in self.sets["val"] + self.sets["test"]:
                self._parts = pictures, pictures.subset([])
            elif len(pictures) < 2:
                raise UserError(
                    f"data.path={self.path}: one image only, but some must be held out: "
                    "add images, or validate on another set (data.val=[Set5] data.test=[Set5])"
                )
            else:
                train, held = split_held_out(len(pictures))
                self._parts = pictures.subset(train), pictures.subset(held)
        return self._parts


def list_folder_images(path: str | Sequence[str], exclude: Sequence[Any] | None, root: Path) -> list[Path]:
    """The pictures of `data.path`, one folder or several, without those that `data.exclude` names.

    A folder is a path, or the NAME of a set under `root`; its pictures lie in `HR`, if there is such a folder in it.
    """
    places = [_place(str(name), root) for name in _listed(path)]
    twice = [place for place in places if places.count(place) > 1]
    if twice:
        raise UserError(f"data.path={_shown(path)}: {twice[0]} stands there twice")
    files = [file for place in places for file in list_images(place, "data.path")]
    if isinstance(exclude, str | int):
        raise UserError(f"data.exclude={exclude}: expected a list: data.exclude=[{exclude}]")
    out = {str(name) for name in exclude or []}
    there = {word for file in files for word in (file.stem, file.name)}
    for name in sorted(out - there):
        raise UserError(
            f"data.exclude={name}: no image of this name in data.path={_shown(path)}.{suggest_nearest(name, there)}"
        )
    kept = [file for file in files if not {file.stem, file.name} & out]
    if not kept:
        raise UserError(f"data.exclude={_shown(exclude)}: no image of data.path={_shown(path)} is left")
    return kept


def _listed(path: str | Sequence[str]) -> Sequence[str]:
    return [path] if isinstance(path, str | Path) else path


def _place(name: str, root: Path) -> Path:
    """The folder of images: a path if there is one, else a set under `root`."""
    here = Path(name).expanduser()
    path = here if here.exists() else root.expanduser() / name
    if not path.exists():
        there = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        raise UserError(
            f"data.path={name}: there is no such folder, nor one under paths.data={root}.{suggest_nearest(name, there)}"
        )
    return hr_folder(path)


def _shown(value: str | Sequence[Any]) -> str:
    return str(value) if isinstance(value, str | Path) else f"[{','.join(map(str, value))}]"
