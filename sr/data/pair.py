"""`data=pair data.lr=DIR data.hr=DIR`: LR and HR files that belong together, checked before anything is trained."""

import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from sr.data.folder import Folder
from sr.data.image_set import ImageSet
from sr.image.read import list_images, probe
from sr.runtime.error import UserError


class PairFolder(Folder):
    """Two folders. An LR file has its HR file's name, with or without `x2`, `_x2` or `-x2` (the scale) at its end."""

    name = "pair"

    def __init__(self, *, lr: str | None, hr: str | None, **dials: Any) -> None:
        if not lr or not hr:
            raise UserError("data=pair needs two folders: data.lr=DIR data.hr=DIR")
        super().__init__(path=hr, **dials)
        self.lr, self.hr = Path(lr).expanduser(), Path(hr).expanduser()

    def _all(self) -> ImageSet:
        faults: list[str] = []
        hr = _by_name(list_images(self.hr, "data.hr"), lambda stem: stem, faults)
        lr = _by_name(list_images(self.lr, "data.lr"), lambda stem: find_hr_name(stem, hr, self.scale), faults)
        faults += [f"{lr[name]}: no HR image of this name in data.hr={self.hr}" for name in lr if name not in hr]
        faults += [f"{hr[name]}: no LR image of this name in data.lr={self.lr}" for name in hr if name not in lr]
        names = [name for name in hr if name in lr]
        for name in names:
            faults += self._faults(lr[name], hr[name])
        if faults:
            raise UserError(f"data=pair: {len(faults)} fault(s) found\n" + "\n".join(faults))
        return self.open_images([hr[name] for name in names], [lr[name] for name in names])

    def _faults(self, lr: Path, hr: Path) -> list[str]:
        headers, damaged = [], []
        for path in (lr, hr):
            try:
                headers.append(probe(path))
            except UserError as error:
                damaged.append(str(error))
        if damaged:
            return damaged
        (h, w, kind), (big_h, big_w, big_kind) = headers
        s = self.scale
        if (big_h // s, big_w // s) != (h, w):
            return [
                f"{lr}: {w}×{h}, but {hr.name} is {big_w}×{big_h}: at scale={s}, {big_w // s}×{big_h // s} was expected"
            ]
        if kind != big_kind:
            return [f"{lr}: {kind}, but {hr.name} is {big_kind}: convert one of them"]
        return []


def find_hr_name(stem: str, hr: Container[str], scale: int) -> str:
    """The name of the HR file that an LR file belongs to: its own, or without the scale at its end."""
    return stem if stem in hr else re.sub(rf"[-_]?x{scale}$", "", stem, flags=re.IGNORECASE)


def _by_name(paths: list[Path], name: Callable[[str], str], faults: list[str]) -> dict[str, Path]:
    """Files by the name of their pair; two files of one name are a fault."""
    found: dict[str, Path] = {}
    for path in paths:
        first = found.setdefault(name(path.stem), path)
        if first is not path:
            faults.append(f"{path}: belongs to the same pair as {first.name}; remove one")
    return found
