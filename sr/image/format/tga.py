"""TGA: 8 bits per channel, gray or RGB, with or without alpha."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat


class TgaFormat(PillowFormat):
    """TGA."""

    name, suffixes, decoders = "TGA", (".tga",), ("TGA",)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return {"compression": "tga_rle"}


FORMAT = TgaFormat()
