"""`data=folder data.path=DIR`: a folder of HR images; LR is made from them."""

from pathlib import Path
from typing import Any

from sr.data.module import SRData, check_sizes, split
from sr.data.patches import Patches
from sr.data.pictures import Pictures, folder
from sr.error import UserError


class Folder(SRData):
    """Trains on the folder's pictures; every tenth (one at least, twenty at most) is held out as the set `folder`."""

    name = "folder"

    def __init__(self, *, path: str | None, patch: int, **dials: Any) -> None:
        super().__init__(**dials)
        if not path:
            raise UserError("data=folder needs to know the folder of your HR images: data.path=DIR")
        self.path, self.patch = Path(path).expanduser(), patch
        self._parts: tuple[Pictures, Pictures] | None = None

    def training(self) -> Patches:
        pictures, held = self._split()
        patches = Patches(pictures, self.patch)
        pictures.load(held)
        return patches

    def held_out(self, stage: str) -> Pictures:
        held = self._split()[1]
        check_sizes(held, f"data.{stage}={self.name}")
        return held

    def _all(self) -> Pictures:
        return folder(self.path, self.scale, "data.path")

    def _split(self) -> tuple[Pictures, Pictures]:
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
                train, held = split(len(pictures))
                self._parts = pictures.subset(train), pictures.subset(held)
        return self._parts
