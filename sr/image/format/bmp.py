"""BMP: 8 bits per channel, gray or RGB, with or without alpha, uncompressed."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, select_options
from sr.runtime.error import UserError

MAX_BYTES = 2**32 - 2**12


class BmpFormat(PillowFormat):
    """BMP."""

    name, suffixes, decoders = "BMP", (".bmp",), ("BMP",)
    held = ("dpi",)
    has_alpha = False

    def limit_header(self, header: Header) -> Header:
        """Return the nearest header; raise `UserError` if the file would be larger than 4 GB."""
        if header.height * (header.width + 1) * header.channels > MAX_BYTES:
            raise UserError(
                f"format=bmp: expected at most 4 GB of pixels (found {header.width}×{header.height}); choose format=png"
            )
        return super().limit_header(header)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return select_options(dpi=metadata.dpi)


FORMAT = BmpFormat()
