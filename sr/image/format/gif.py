"""GIF: a palette of 256 colors for each frame, one of them transparent; animations with their durations and loops."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sr.image.file_format import Header, ImageWriter, Metadata, WriteOptions
from sr.image.gif_blocks import iterate_frames
from sr.image.pillow_file import PillowFile
from sr.image.pillow_writer import PillowFormat, PillowWriter, build_animation, select_options

TO_BACKGROUND = 2  # disposal: the area of a frame becomes transparent before the next one
TRANSPARENT = 255  # index in the palettes that are written
OPAQUE = 128  # alpha from which on a pixel is written as opaque


class GifFile(PillowFile):
    """A GIF file. Of an animation, the frames after the first may have color or alpha although the first has none."""

    def build_header(self) -> Header:
        """Return the header of the opened image, of which nothing is decoded."""
        self._frames, (width, height) = list(iterate_frames(self.path)), self.image.size
        if any(frame.left + frame.width > width or frame.top + frame.height > height for frame in self._frames):
            raise ValueError("a frame exceeds its canvas")  # Pillow would make it larger, whatever memory that takes
        header = super().build_header()
        if header.frames == 1:
            return header
        if len(self._frames) < header.frames:
            raise ValueError("its blocks end early")
        first = self._frames[0]
        has_alpha = header.has_alpha or first.is_transparent or (first.width, first.height) != (width, height)
        has_alpha |= any(frame.disposal == TO_BACKGROUND for frame in self._frames)
        return header._replace(kind="color", channels=3, has_alpha=has_alpha)

    def list_durations(self) -> tuple[float, ...]:
        """Return how long each frame is shown, in ms."""
        return tuple(frame.duration for frame in self._frames[: self.header.frames])


class GifWriter(PillowWriter):
    """Reduce each frame to a palette of its own, and save all frames at the end."""

    def add_image(self, image: Image.Image) -> None:
        """Append a frame of mode L, LA, RGB or RGBA."""
        if image.mode == "L":
            super().add_image(image)
            return
        alpha = np.array(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
        reduced = image.convert("RGB").quantize(256 if alpha is None else TRANSPARENT)
        if alpha is not None:
            indices = np.where(alpha < OPAQUE, TRANSPARENT, np.array(reduced)).astype(np.uint8)
            palette = (reduced.getpalette() or [])[: 3 * TRANSPARENT]
            reduced = Image.fromarray(indices, "P")
            reduced.putpalette(palette + [0] * (768 - len(palette)))
            reduced.info["transparency"] = TRANSPARENT
        super().add_image(reduced)


class GifFormat(PillowFormat):
    """GIF."""

    name, suffixes, decoders = "GIF", (".gif",), ("GIF",)
    held = ("comment", "durations")
    file_class = GifFile
    has_frames = True

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        return GifWriter(path, "GIF", header, self.build_options(header, metadata, options))

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        saved = select_options(comment=metadata.texts.get("comment")) | build_animation(header, metadata)
        if header.has_alpha:
            saved |= {"transparency": TRANSPARENT, "disposal": TO_BACKGROUND}
        return saved | {"optimize": False}


FORMAT = GifFormat()
