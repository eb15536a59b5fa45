"""`data=internal data.path=IMAGE`: the image that is to be upscaled is its own training set.

Internal learning: Shocher et al., "Zero-Shot Super-Resolution using Deep Internal Learning" (ZSSR), 2018,
https://arxiv.org/abs/1712.06087, section 3. The image and reduced copies of it are HR; what `data.degrade` makes of them is
LR. No other image is read. In the paper the copies have random sizes, and larger ones are drawn more often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor

from sr.data.image_part import Image, ImagePart
from sr.data.module import SRDataModule
from sr.data.source import ImageFiles, Split
from sr.image.file_format import Header
from sr.image.read import probe, read_levels
from sr.image.resize import imresize
from sr.runtime.error import UserError
from sr.runtime.option_types import PathStr


class Internal(SRDataModule):
    """One image and its reduced copies for training; the image itself for validation and test.

    `copies` are their sizes, as factors. One that is smaller than a patch, at least in one direction, is left out.
    """

    name = "internal"

    def __init__(
        self, *, path: PathStr | None, copies: Sequence[Annotated[float, Interval(gt=0, lt=1)]] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        if not path:
            raise UserError("data=internal needs the image that is to be upscaled: data.path=IMAGE")
        self.path, self.copies = Path(path).expanduser(), list(copies)
        if not self.path.is_file():
            found = "a folder" if self.path.is_dir() else "no such file"
            raise UserError(
                f"data.path={path}: expected an image file (found {found}); for several of them, one after another, type "
                f"-m data.path=A.png,B.png"
            )

    def find_images(self, split: Split) -> ImageFiles:
        return ImageFiles([self.path, *self._copies] if split == "train" else [self.path])

    @property
    def folders(self) -> list[Path]:
        """None: what else is in the image's folder does not belong to the set."""
        return []

    @cached_property
    def _copies(self) -> list[Image]:
        copies = [ReducedCopy(self.path, factor) for factor in self.copies]
        return [copy for copy in copies if min(copy.probe()[:2]) >= self.patch]


@dataclass(frozen=True)
class ReducedCopy(ImagePart):
    """The image `path`, bicubically reduced to `factor` times its size, with the depth of the file."""

    path: Path
    factor: float

    @property
    def name(self) -> str:
        """The name of the file and the factor."""
        return f"{self.path.stem}_{self.factor:g}"

    @property
    def key(self) -> object:
        return "reduced", self.factor

    def probe(self) -> Header:
        header = probe(self.path)
        height, width = (math.ceil(self.factor * n) for n in (header.height, header.width))
        return header._replace(height=height, width=width)

    def read(self) -> Tensor:
        return imresize(read_levels(self.path), self.factor)
