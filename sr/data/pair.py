"""`data=pair data.lr=DIR data.hr=DIR`: LR and HR files that belong together, checked before training starts."""

from functools import cached_property
from pathlib import Path
from typing import Any

from sr.data.folder import Folder
from sr.data.matching import find_hr_name
from sr.data.source import ImageFiles, Split
from sr.image.listing import list_images
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr


class PairFolder(Folder):
    """Two folders. An LR file has its HR file's name, with or without `x2`, `_x2` or `-x2` (the scale) at its end."""

    name = "pair"

    def __init__(self, *, lr: PathStr | None, hr: PathStr | None, **options: Any) -> None:
        if not lr or not hr:
            raise UserError("data=pair needs two folders: data.lr=DIR data.hr=DIR")
        if options.get("exclude"):  # it would be ignored
            raise UserError(
                f"data.exclude={options['exclude']}: data=pair has no such option; remove both files of the pair"
            )
        super().__init__(path=hr, **options)
        self.lr, self.hr = Path(lr).expanduser(), Path(hr).expanduser()

    def find_images(self, split: Split) -> ImageFiles:
        """Return HR files, and all LR files but those of the other split: also those that match no HR file."""
        hr_names, held_out_names = ({path.stem for path in files} for files in (self._files, self._held_out))
        lr = [
            path
            for path in self._lr_files
            if (find_hr_name(path.stem, hr_names, self.scale) in held_out_names) == (split != "train")
        ]
        return ImageFiles(super().find_images(split).hr, lr)

    @property
    def folders(self) -> list[Path]:
        """The folders that the images are in."""
        return [self.hr, self.lr]

    @cached_property
    def _files(self) -> list[Path]:
        return list_images(self.hr, "data.hr")

    @cached_property
    def _lr_files(self) -> list[Path]:
        return list_images(self.lr, "data.lr")
