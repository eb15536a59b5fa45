"""Read image files: by their format, chosen by content first and suffix second, or as 8-bit tensors for training.

Every error in a file is a `UserError` that names the file; a decoder's own exceptions are never raised to the caller.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sr.image.damage import ADVICE, UnsupportedImageError, report_damage
from sr.image.file_format import READ_ALL, Header, ImageFile, ReadOptions
from sr.image.formats import find_format, identify_kind
from sr.image.levels import WHITE
from sr.runtime.error import UserError
from sr.runtime.special_file import describe_special_file

GZIP = b"\x1f\x8b"


class DecodedImage(NamedTuple):
    """A decoded image, with its alpha channel."""

    pixels: Tensor  # uint8, or uint16 if asked for, [3 or 1, H, W]: 1 channel only if the file is gray
    alpha: Tensor | None  # [1, H, W], likewise


def open_image_file(path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
    """Open an image file of any format that is read; its pixels are not decoded yet.

    Raises `UserError`, which names the file, if it is missing, damaged, no image, of a format that is not read, or of one that
    does not have what an option chooses from.
    """
    special = describe_special_file(path)
    if special:
        raise UserError(f"{path}: expected a file (found {special}); {ADVICE}")
    with report_damage(path):
        path.open("rb").close()
    kind = identify_kind(path)
    if kind is None:
        raise UserError(f"{path}: this is not an image, whatever its name says; {ADVICE}")
    if not kind.is_read:
        raise UnsupportedImageError(f"{path}: this is {kind.title}; sr does not read {kind.name} yet: {kind.advice}")
    file_format = find_format(kind.name)
    with path.open("rb") as file:
        if file.read(2) == GZIP and not file_format.reads_gzip:
            raise UnsupportedImageError(f"{path}: this is {kind.title} that is compressed by gzip; unpack it first")
    for name, value in options._asdict().items():
        if value is not None and name not in file_format.read_options:
            raise UserError(f"{path}: {name} is not an option of {kind.name} files; leave it out, or this file")
    return file_format.open(path, options)


def probe(path: Path, options: ReadOptions = READ_ALL) -> Header:
    """Read an image's header without decoding the pixels. Raises as `open_image_file`."""
    with open_image_file(path, options) as file:
        return file.header


def read_rgb(path: Path) -> Tensor:
    """Read an image as uint8 `[3, H, W]`: gray is repeated, alpha is dropped, the EXIF orientation is applied."""
    pixels = read_image(path).pixels
    return pixels.expand(3, -1, -1).contiguous() if pixels.shape[0] == 1 else pixels


def read_image(path: Path, dtypes: Sequence[torch.dtype] = (torch.uint8,)) -> DecodedImage:
    """Read the first frame of an image, with its alpha channel; the EXIF orientation is applied.

    The size and type are those of `probe`. Raises `UserError` if the type is none of `dtypes`, if the levels do not have
    its whole range, and for further bands.
    """
    with open_image_file(path) as file:
        header = file.header
        has_range = (header.black, header.white) == (0, WHITE.get(header.dtype))
        if header.dtype not in dtypes or header.channels not in (1, 3) or not has_range:
            bits = f"{header.dtype}".removeprefix("torch.")
            levels = f" in {header.black:g}…{header.white:g}" * (header.dtype in dtypes and not has_range)
            found = f"{header.channels} band{'s' * (header.channels != 1)} of {bits}{levels}"
            expected = (
                "8-bit gray or RGB (uint8)" if len(dtypes) == 1 else "gray or RGB of 8 or 16 bits (uint8, uint16)"
            )
            raise UnsupportedImageError(f"{path}: {found}, expected {expected}; convert it first")
        return DecodedImage(*file.read()[:2])


def read_levels(path: Path) -> Tensor:
    """Read the first frame of an image of 8 or 16 bits as uint8 or uint16 `[3 or 1, H, W]`, without its alpha."""
    return read_image(path, tuple(WHITE)).pixels
