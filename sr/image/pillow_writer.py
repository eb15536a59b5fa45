"""Write image files by Pillow, which encodes whole frames: the base of the formats that are not written row by row."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sr.image.damage import report_damage
from sr.image.exif import resize_exif, resize_xmp
from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    WriteOptions,
)
from sr.image.pillow_file import PillowFile, open_pillow
from sr.runtime.error import UserError


class PillowFormat(FileFormat):
    """A format that Pillow reads, and writes with 8 bits per channel."""

    decoders: tuple[str, ...]  # Pillow's names; the first one is its encoder, too
    file_class: type[PillowFile] = PillowFile
    max_side = 65535  # pixels
    has_alpha = True
    has_frames = False

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file of this format. Raise `UserError` if it is damaged or its pixels are not read."""
        image = open_pillow(path, self.name, *self.decoders)
        with contextlib.ExitStack() as stack, report_damage(path):
            stack.callback(image.close)
            file = self.file_class(path, self.name, image)
            stack.pop_all()
        return file

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        saved = self.build_options(header, fit_metadata(metadata, header), options)
        return PillowWriter(path, self.decoders[0], header, saved)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return {}

    def limit_header(self, header: Header) -> Header:
        """Return what this format can hold that is next to `header`: fewer frames, no alpha, 8 bits instead of 16.

        Raise `UserError` if it cannot hold the image at all, because it is too large or has too many bands.
        """
        check_size(header, self.name, self.max_side)
        return header._replace(
            format=self.name,
            frames=header.frames if self.has_frames else 1,
            has_alpha=header.has_alpha and self.has_alpha,
            dtype=torch.uint8,
            black=0.0,
            white=255.0,
        )


class PillowWriter(ImageWriter):
    """Collect the rows of each frame, and save all frames by Pillow at the end."""

    def __init__(self, path: Path, encoder: str, header: Header, options: dict[str, Any]) -> None:
        self.path, self.header, self._encoder, self._options = path, header, encoder, options
        self._images: list[Image.Image] = []
        self._rows: np.ndarray | None = None  # of the current frame, uint8 [H, W, C]
        self._count = 0  # of rows in it

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current frame; after `header.height` rows the next frame begins."""
        layers = stack_layers(frame)
        if self._rows is None:
            self._rows = np.empty((self.header.height, *layers.shape[1:]), np.uint8)
        self._rows[self._count : self._count + len(layers)] = layers
        self._count += len(layers)
        if self._count == self.header.height:
            self.add_image(Image.fromarray(self._rows[:, :, 0] if self._rows.shape[2] == 1 else self._rows))
            self._rows, self._count = None, 0

    def add_image(self, image: Image.Image) -> None:
        """Append a frame of mode L, LA, RGB or RGBA."""
        self._images.append(image)

    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""
        first, *others = self._images
        frames: dict[str, Any] = {"save_all": True, "append_images": others} if others else {}
        first.save(self.path, format=self._encoder, **self._options, **frames)


def fit_metadata(metadata: Metadata, header: Header) -> Metadata:
    """Return the metadata for a result of another size: EXIF and XMP state it."""
    return metadata._replace(
        exif=resize_exif(metadata.exif, header.height, header.width),
        xmp=resize_xmp(metadata.xmp, header.height, header.width),
    )


def check_size(header: Header, name: str, max_side: int) -> None:
    """Raise `UserError` if a format cannot hold an image of this size or of this number of channels."""
    if max(header.height, header.width) > max_side:
        raise UserError(
            f"format={name.lower()}: expected at most {max_side} pixels a side (found {header.width}×{header.height}); "
            "choose format=png"
        )
    if header.channels not in (1, 3):
        raise UserError(
            f"format={name.lower()}: expected gray or RGB (found {header.channels} bands); choose format=tiff"
        )


def stack_layers(frame: Frame) -> np.ndarray:
    """Return rows `[rows, W, channels]`, with alpha as the last channel, in memory order."""
    layers = frame.pixels if frame.alpha is None else torch.cat([frame.pixels, frame.alpha])
    return layers.permute(1, 2, 0).contiguous().cpu().numpy()


def select_options(**options: Any) -> dict[str, Any]:
    """Return the options that have a value: Pillow does not accept None for all of them."""
    return {key: value for key, value in options.items() if value not in (None, b"", ())}


def build_animation(header: Header, metadata: Metadata) -> dict[str, Any]:
    """Return the arguments of `Image.save` for the frames of an animation: durations in ms, and loops."""
    if header.frames == 1:
        return {}
    durations = [round(x) for x in metadata.durations[: header.frames]]
    return select_options(duration=durations or None, loop=metadata.loops)
