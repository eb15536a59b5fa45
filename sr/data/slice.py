"""Slices of volumes as images of 16 bits: 0 and 65535 are the black and the white of the volume, values beyond are cut off."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sr.data.image_part import ImagePart
from sr.image.file_format import READ_ALL, Header, ImageFile, ReadOptions
from sr.image.levels import WHITE
from sr.image.read import open_image_file

VOLUMES = 2  # files of several slices whose decoded slices are remembered
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Slice(ImagePart):
    """A slice of gray: a frame of the file `path`, of `size` (H, W)."""

    path: Path
    name: str
    group: str
    size: tuple[int, int]
    position: float  # across the slices, in any unit: the same for slices of one place at several times
    range: tuple[float, float]  # black and white as the file stores them; those of a series depend on its other files
    frame: int = 0
    frames: int = 1  # of the file
    options: ReadOptions = READ_ALL

    @property
    def key(self) -> object:
        """Return what identifies the pixels, by its repr, among all parts of the file."""
        return "slice", self.frame, self.range, tuple(self.options)

    def probe(self) -> Header:
        """Return the header of the slice."""
        return Header(*self.size, "gray", channels=1, dtype=torch.uint16, white=WHITE[torch.uint16])

    def read(self) -> Tensor:
        """Read the levels, uint16 `[1, H, W]`. Raise `UserError`, which names the file, if it is damaged."""
        if self.frames > 1:
            with _LOCK:  # the slices of a file are read one after another: the first one decodes them all
                return _read_volume(self.path, self.path.stat().st_mtime_ns, self.range, self.options)[self.frame]
        with open_image_file(self.path, self.options) as file:
            return read_gray_levels(file, 0, self.range)


def read_gray_levels(file: ImageFile, frame: int, black_and_white: tuple[float, float]) -> Tensor:
    """Read a frame of gray as levels, uint16 `[1, H, W]`: 0 for black, 65535 for white."""
    values, (black, white) = file.read(frame).pixels.double(), black_and_white
    levels = ((values - black) / (white - black)).clamp_(0, 1).mul_(WHITE[torch.uint16]).add_(0.5)
    return torch.from_numpy(levels.numpy().astype(np.uint16))


@lru_cache(maxsize=VOLUMES)
def _read_volume(path: Path, time: int, black_and_white: tuple[float, float], options: ReadOptions) -> Tensor:
    """Read all slices of a file, as it was written at `time`: uint16 `[N, 1, H, W]`."""
    with open_image_file(path, options) as file:
        return torch.stack([read_gray_levels(file, frame, black_and_white) for frame in range(file.header.frames)])
