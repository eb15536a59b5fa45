"""WebP: 8 bits per channel, RGB, with or without alpha; animations; lossless if the source is."""

from functools import cached_property
from pathlib import Path
from typing import Any

from sr.image.file_format import Header, ImageWriter, Metadata, WriteOptions
from sr.image.pillow_file import PillowFile
from sr.image.pillow_writer import PillowFormat, PillowWriter, build_animation, fit_metadata, select_options

DEFAULT_QUALITY = 95
FLAGS_OFFSET, HAS_ALPHA = 20, 0x10  # of the chunk VP8X, which an animation begins with
HEAD_BYTES = 1 << 16  # of a file, enough for what stands before the first frame


class WebpFile(PillowFile):
    """A WebP file."""

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata of the file. Its first frame says whether it is lossless."""
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        lossless, lossy = head.find(b"VP8L"), head.find(b"VP8 ")
        return super().metadata._replace(is_lossless=lossless > 0 and not 0 < lossy < lossless)


class WebpWriter(PillowWriter):
    """A WebP file. An animation states that it has alpha even if the rectangles that libwebp stores are opaque."""

    def close(self) -> None:
        """Complete the file after the last row. It is not called after an error."""
        super().close()
        if self.header.frames > 1 and self.header.has_alpha:
            with self.path.open("r+b") as file:
                file.seek(FLAGS_OFFSET)
                flags = file.read(1)[0] | HAS_ALPHA
                file.seek(FLAGS_OFFSET)
                file.write(bytes([flags]))


class WebpFormat(PillowFormat):
    """WebP."""

    name, suffixes, decoders = "WEBP", (".webp",), ("WEBP",)
    has_quality = True
    held = ("icc", "exif", "xmp", "durations")
    file_class = WebpFile
    max_side, has_frames = 16383, True

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        saved = self.build_options(header, fit_metadata(metadata, header), options)
        return WebpWriter(path, "WEBP", header, saved)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        saved = select_options(icc_profile=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)
        is_lossless = options.lossless or (metadata.is_lossless and options.quality is None)
        coding = {"lossless": True, "exact": True} if is_lossless else {"quality": options.quality or DEFAULT_QUALITY}
        return coding | saved | build_animation(header, metadata)


FORMAT = WebpFormat()
