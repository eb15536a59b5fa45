"""The interface of a data source: it names the images of its training, validation and test set, and nothing more.

`SRDataModule` opens, caches, degrades and serves them; `python -m sr.inspect` examines them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from sr.data.image_part import Image

Split = Literal["train", "val", "test"]


class ImageFiles(NamedTuple):
    """A set of image files, or parts of files, of any size.

    `lr` are the LR files that belong to `hr`, matched by name (`sr.data.matching`).
    """

    hr: Sequence[Image]
    lr: Sequence[Path] | None = None  # None: LR is made from HR by data.degrade


class ImageTensor(NamedTuple):
    """A set of small images of one size, already decoded."""

    pixels: Tensor  # uint8 [N, C, H, W]
    files: Sequence[Path] = ()  # the files that they were read from, for the fingerprint of the set


class DataSource(ABC):
    """The part of a data source that differs from one source to the next."""

    name: str = ""  # of the source's own validation and test set, in data.val and data.test; empty: it has none
    folders: Sequence[Path] = ()  # those whose images it takes; sr.inspect reports what else is in them
    has_panels: bool = True  # False: no image of it is shown to a tracker, as of patients
    caveat: str = ""  # a known defect of the set that sr.inspect cannot detect; printed in its report

    @abstractmethod
    def find_images(self, split: Split) -> ImageFiles | ImageTensor | None:
        """Return the images of the source's own set of `split`, without decoding any file; None if it has no such set.

        The validation and the test set may be the same. `self.sets` holds the names in data.val and data.test.
        Raises `UserError` if a folder is missing or empty.
        """

    def describe_own_set(self, split: Split) -> str:
        """Return a sentence about how the images of an own evaluation set were chosen; empty if there is nothing to say."""
        return ""

    @property
    def training_name(self) -> str:
        """The name of the training set in results and trackers."""
        return self.name
