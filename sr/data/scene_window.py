"""A window of a satellite scene as an image of levels: its bands, mapped to 16 bits by a range, and which pixels are data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sr.data.image_part import ImagePart
from sr.image.file_format import Header, ImageFile, ReadOptions, Window
from sr.image.formats import find_format
from sr.image.levels import WHITE

MAX_SAMPLES = 1 << 24  # that are converted to levels at a time


@dataclass(frozen=True)
class SceneWindow(ImagePart):
    """A window of a scene. `options` hold the bands and the range."""

    path: Path
    window: Window
    options: ReadOptions
    header: Header  # of the window
    name: str
    group: str

    @property
    def key(self) -> object:
        """Return what identifies the window, and how it is read."""
        return "scene", tuple(self.window), tuple(self.options)

    def probe(self) -> Header:
        """Return the header: of levels of 8 or 16 bits."""
        return self.header

    def read(self) -> Tensor:
        """Read the levels, `[C, H, W]`, and, if the header has a mask, a further plane: white where all bands are data.

        Samples that are no data are filled from their neighbors. Raises `UserError`, which names the file, if it is damaged.
        """
        planes, (top, left, height, width) = self.header.channels + self.header.has_mask, self.window
        levels = torch.empty(planes, height, width, dtype=self.header.dtype)
        step = max(1, MAX_SAMPLES // (planes * width))
        with open_scene(self.path, self.options) as file:
            for first in range(0, height, step):
                rows = slice(first, min(first + step, height))
                frame = file.read(0, Window(top + first, left, rows.stop - first, width))
                levels[: self.header.channels, rows] = to_levels(frame.pixels, file)
                if self.header.has_mask:
                    valid = 1 if frame.valid is None else frame.valid.all(dim=0)
                    levels[-1, rows] = WHITE[levels.dtype] * valid
        return levels


def open_scene(path: Path, options: ReadOptions) -> ImageFile:
    """Open a GeoTIFF, or a TIFF, by rasterio. Raise `UserError` if it is damaged or rasterio is not installed."""
    return find_format("geotiff").open(path, options)


def describe_window(file: ImageFile, window: Window) -> Header:
    """Return the header of a window of an opened scene, as `SceneWindow.read` returns it."""
    header, is_8_bit = file.header, has_8_bits(file)
    dtype = torch.uint8 if is_8_bit else torch.uint16
    kind = "gray" if header.channels == 1 else "color"
    return Header(
        window.height, window.width, kind, 1, header.format, header.channels, False, dtype, 0.0, float(WHITE[dtype]),
        has_mask=header.has_mask,
    )  # fmt: skip


def has_8_bits(file: ImageFile) -> bool:
    """Return whether the samples of an opened scene are levels of 8 bits, which need no range."""
    header = file.header
    return header.dtype == torch.uint8 and (header.black, header.white) == (0, WHITE[torch.uint8])


def to_levels(pixels: Tensor, file: ImageFile) -> Tensor:
    """Map the pixels of an opened scene to levels: 0 and 65535 are the black and the white of its header.

    Values beyond the range are cut off. Levels of 8 bits stay as they are.
    """
    if has_8_bits(file):
        return pixels
    black, white = file.header.black, file.header.white
    levels = ((pixels.double() - black) / (white - black)).clamp_(0, 1).mul_(WHITE[torch.uint16]).add_(0.5)
    return torch.from_numpy(levels.numpy().astype(np.uint16))
