"""WebP: 8 bits per channel, RGB, with or without alpha; animations; lossless if the source is."""

from typing import Any

from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, build_animation, select_options

DEFAULT_QUALITY = 95


class WebpFormat(PillowFormat):
    """WebP."""

    name, suffixes, decoders = "WEBP", (".webp",), ("WEBP",)
    has_quality = True
    held = ("icc", "exif", "xmp", "durations")
    max_side, has_frames = 16383, True

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        saved = select_options(icc_profile=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)
        coding = (
            {"lossless": True, "exact": True} if options.lossless else {"quality": options.quality or DEFAULT_QUALITY}
        )
        return coding | saved | build_animation(header, metadata)


FORMAT = WebpFormat()
