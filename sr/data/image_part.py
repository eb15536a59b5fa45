"""The interface of a part of a file that is an image by itself: a slice of a volume, a window of a scene.

A set of images (`sr.data.image_set`) may hold parts as well as whole files. A part has levels of 8 or 16 bits, whatever the
file has: its source says which values become black and white.
"""

import hashlib
import os
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sr.image.file_format import Header
from sr.image.levels import count_bits
from sr.image.read import probe, read_levels
from sr.runtime.error import UserError


class ImagePart(ABC):
    """A part of the file `path`. Parts are hashable, and equal if they have the same pixels."""

    path: Path
    name: str  # of the image in results and on pages
    group: str  # the volume or scene that it is a part of: results are given for each of them as well

    @property
    @abstractmethod
    def key(self) -> object:
        """Return what identifies the pixels, by its repr, among all parts of the file: the name of a cache entry."""

    @abstractmethod
    def probe(self) -> Header:
        """Return the header of the part: its size, kind and type, uint8 or uint16. Raise `UserError` if it is damaged."""

    @abstractmethod
    def read(self) -> Tensor:
        """Read the levels, uint8 or uint16 `[C, H, W]`. Raise `UserError`, which names the file, if it is damaged."""


Image = Path | ImagePart  # a whole file, or a part of one


def find_path(image: Image) -> Path:
    """Return the file of an image."""
    return image if isinstance(image, Path) else image.path


def describe_parts(images: Sequence[Image]) -> dict[str, str]:
    """Return what identifies the parts of files among these images, for the fingerprint of a set; empty without any."""
    parts = [f"{image.path.name} {image.key!r}" for image in images if not isinstance(image, Path)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return {"parts": f"{len(parts)}, sha256 {digest[:16]}"} if parts else {}


def probe_image(image: Image) -> Header:
    """Return the header of a whole file or a part of one."""
    return probe(image) if isinstance(image, Path) else image.probe()


def read_image_levels(image: Image) -> Tensor:
    """Read the levels of a whole file or a part of one, uint8 or uint16 `[C, H, W]`."""
    return read_levels(image) if isinstance(image, Path) else image.read()


def name_images(images: Sequence[Image]) -> list[str]:
    """Return each image's shortest unique name: a, else a.png, else HR/a.png, else T91/HR/a.png; of parts their own."""
    if not all(isinstance(image, Path) for image in images):
        return [image.stem if isinstance(image, Path) else image.name for image in images]
    paths: Sequence[Path] = images
    names = [path.stem for path in paths]
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            "/".join(path.parts[-depth:]) if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)
        ]
    return names


def shuffle_files(jobs: list[int], images: Sequence[Image]) -> list[int]:
    """Return the jobs, numbers of `images`, in a random order of files, those of a file one after another.

    Processes that start together share the work; the slices of a volume are read in their order.
    """
    files = list(dict.fromkeys(find_path(images[job]) for job in jobs))
    random.Random(os.getpid()).shuffle(files)  # noqa: S311
    position = {file: k for k, file in enumerate(files)}
    return sorted(jobs, key=lambda job: position[find_path(images[job])])


def check_pixels(file: Path, pixels: Tensor, height: int, width: int, dtype: torch.dtype) -> None:
    """Raise `UserError` if the pixels are not those that the header announced: they would be cropped silently."""
    if pixels.dtype != dtype:
        bits = f"{count_bits(dtype)} bits per channel, as when the set was opened (found {count_bits(pixels.dtype)}"
        raise UserError(f"{file}: expected {bits}); the file has changed: start again")
    if pixels.shape[1:] != (height, width):
        raise UserError(
            f"{file}: expected {width}×{height} pixels, as when the set was opened (found "
            f"{pixels.shape[2]}×{pixels.shape[1]}); the file has changed: start again"
        )
