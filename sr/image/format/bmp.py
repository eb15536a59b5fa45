"""BMP: 8 bits per channel, gray or RGB, with or without alpha, uncompressed."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, select_options


class BmpFormat(PillowFormat):
    """BMP."""

    name, suffixes, decoders = "BMP", (".bmp",), ("BMP",)
    held = ("dpi",)
    has_alpha = False

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return select_options(dpi=metadata.dpi)


FORMAT = BmpFormat()
