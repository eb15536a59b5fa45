"""HEIC and HEIF, read only: 8, 10 and 12 bits, alpha, several images (pip install 'sr[images]')."""

import contextlib
import io
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from sr.image.color_profile import describe_color_space
from sr.image.damage import UnsupportedImageError, import_decoder, report_damage
from sr.image.exif import clean_exif, clean_xmp
from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    Window,
    WriteOptions,
)
from sr.image.limits import check_decoded_size
from sr.runtime.error import UserError

WHITES = {8: 255.0, 10: 1023.0, 12: 4095.0}


class HeicFile(ImageFile):
    """A HEIC file. The primary image is the first frame; rotations are applied by the decoder, as the standard demands."""

    def __init__(self, path: Path, heif: Any) -> None:
        self.path, self._heif = path, heif
        primary = heif.primary_index
        self._numbers = [primary, *(k for k in range(len(heif)) if k != primary)]
        self._frame, self._layers = -1, None
        image = heif[primary]
        (width, height), bits = image.size, image.info.get("bit_depth", 8)
        if bits not in WHITES:
            raise UnsupportedImageError(f"{path}: {bits} bits per channel; convert it to PNG")
        is_gray, has_alpha = image.mode.startswith(("L", "I")), bool(image.has_alpha)
        dtype = torch.uint8 if bits == 8 else torch.uint16
        self.header = Header(
            height, width, "gray" if is_gray else "color", len(heif), "HEIC", 1 if is_gray else 3, has_alpha, dtype,
            white=WHITES[bits],
        )  # fmt: skip
        check_decoded_size(path, height, width, self.header.pixel_bytes)

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata of the primary image."""
        info = self._heif[self._numbers[0]].info
        exif, xmp = info.get("exif"), info.get("xmp")
        return Metadata(
            icc=info.get("icc_profile") or None,
            exif=clean_exif(exif) if exif else None,
            xmp=clean_xmp(xmp) if xmp else None,
            unread=tuple(_list_unread(info)),
        )

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode an image, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        with report_damage(self.path):
            if frame != self._frame:
                self._layers, self._frame = self._decode(frame), frame
            top, left, height, width = window or Window(0, 0, *self.header[:2])
            part = self._layers[top : top + height, left : left + width].transpose(2, 0, 1)
            layers, count = torch.from_numpy(np.array(part, order="C")), self.header.channels
            return Frame(layers[:count], layers[count:] if self.header.has_alpha else None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._heif, self._layers = None, None

    def _decode(self, frame: int) -> np.ndarray:
        """Return an image as `[H, W, channels]`."""
        self._layers = None
        image, header = self._heif[self._numbers[frame]], self.header
        array = np.asarray(image)
        array = array[:, :, None] if array.ndim == 2 else array
        expected = (header.height, header.width, header.channels + header.has_alpha)
        if array.shape != expected or array.dtype.itemsize != header.dtype.itemsize:
            found = f"{array.shape[1]}×{array.shape[0]} pixels of {array.shape[2]} channels ({array.dtype})"
            raise UnsupportedImageError(
                f"{self.path}: image {frame + 1} has {found}, the first one {expected[1]}×{expected[0]} of {expected[2]}; "
                "save its images as files"
            )
        return array


class HeicFormat(FileFormat):
    """HEIC."""

    name, suffixes, extra, can_write = "HEIC", (".heic", ".heif", ".hif"), "images", False

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file. Raise `UserError` if it is damaged or its pixels are not read."""
        library = import_decoder("pillow_heif", path, "a HEIC file")
        with contextlib.ExitStack() as stack, report_damage(path):
            heif = library.open_heif(io.BytesIO(path.read_bytes()), convert_hdr_to_8bit=False, hdr_to_16bit=False)
            file = HeicFile(path, heif)
            stack.pop_all()
        return file

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Raise `UserError`: its encoders are slow, and burdened with patents."""
        self._refuse()

    def limit_header(self, header: Header) -> Header:
        """Raise `UserError`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError("format=heic: HEIC is read, but not written; choose format=jpeg, png or avif")


FORMAT = HeicFormat()


def _list_unread(info: dict[str, Any]) -> list[str]:
    unread = ["a depth map"] * bool(info.get("depth_images")) + ["auxiliary images (a gain map?)"] * bool(
        info.get("aux")
    )
    color = info.get("nclx_profile")
    if color and not info.get("icc_profile"):
        unread += describe_color_space(color["color_primaries"], color["transfer_characteristics"])
    return unread
