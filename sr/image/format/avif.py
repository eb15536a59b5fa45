"""AVIF: 8 bits per channel, RGB, with or without alpha; animations."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, build_animation, select_options

DEFAULT_QUALITY = 90


class AvifFormat(PillowFormat):
    """AVIF."""

    name, suffixes, decoders = "AVIF", (".avif", ".avifs"), ("AVIF",)
    held = ("icc", "exif", "xmp", "durations")
    max_side, has_frames = 65536, True

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        saved = select_options(icc_profile=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)
        return {"quality": options.quality or DEFAULT_QUALITY} | saved | build_animation(header, metadata)


FORMAT = AvifFormat()
