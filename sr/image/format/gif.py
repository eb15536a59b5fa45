"""GIF: a palette of 256 colors for each frame; animations with their durations and loops."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.gif_blocks import iterate_frame_sizes
from sr.image.pillow_file import PillowFile
from sr.image.pillow_writer import PillowFormat, build_animation, select_options


class GifFile(PillowFile):
    """A GIF file. Of an animation, the frames after the first may have color although the first is gray."""

    def build_header(self) -> Header:
        """Return the header of the opened image, of which nothing is decoded."""
        # Pillow would make the canvas larger for such a frame, whatever memory that takes.
        if any(
            right > self.image.width or bottom > self.image.height for right, bottom in iterate_frame_sizes(self.path)
        ):
            raise ValueError("a frame exceeds its canvas")
        header = super().build_header()
        return header._replace(kind="color", channels=3) if header.frames > 1 else header


class GifFormat(PillowFormat):
    """GIF."""

    name, suffixes, decoders = "GIF", (".gif",), ("GIF",)
    held = ("durations", "texts")
    file_class = GifFile
    has_frames = True

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return select_options(comment=metadata.texts.get("comment")) | build_animation(header, metadata)


FORMAT = GifFormat()
