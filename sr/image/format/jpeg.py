"""JPEG: 8 bits per channel, gray or RGB; CMYK is converted when it is read."""

from pathlib import Path
from typing import Any

from PIL import MpoImagePlugin  # noqa: F401  Pillow registers it late, and a damaged JPEG would be a `KeyError` until then

from sr.image.exif import PREFIX
from sr.image.file_format import Header, ImageWriter, Metadata, WriteOptions
from sr.image.jpeg_writer import JpegWriter
from sr.image.pillow_file import PillowFile
from sr.image.pillow_writer import PillowFormat, fit_metadata, select_options
from sr.runtime.error import UserError

DEFAULT_QUALITY = 95
MAX_SEGMENT = 65_500  # bytes; EXIF and XMP are one segment each, with a short name in front
FULL_CHROMA_QUALITY = 90  # above it, color has the resolution of the luma (4:4:4)


class JpegFile(PillowFile):
    """A JPEG file. Further images in it are previews and gain maps, no frames."""

    def count_frames(self) -> int:
        """Return 1."""
        return 1

    def list_unread(self) -> tuple[str, ...]:
        """Return the names of the metadata that no result gets."""
        others = getattr(self.image, "n_frames", 1) - 1
        return super().list_unread() + (f"{others} further image(s): previews, gain maps",) * (others > 0)


class JpegFormat(PillowFormat):
    """JPEG."""

    name, suffixes, decoders = "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"), ("JPEG", "MPO")
    has_quality = True
    held = ("icc", "exif", "xmp", "dpi", "comment")
    file_class = JpegFile
    max_side, has_alpha = 65500, False  # libjpeg's limit

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, strip by strip."""
        return JpegWriter(path, header, self.build_options(header, fit_metadata(metadata, header), options))

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        quality = options.quality or DEFAULT_QUALITY
        for name, data in (("EXIF", metadata.exif), ("XMP", metadata.xmp)):
            if data and len(data) > MAX_SEGMENT:
                raise UserError(
                    f"format=jpeg: expected at most {MAX_SEGMENT} bytes of {name} (found {len(data)}); choose format=png"
                )
        saved = select_options(
            icc_profile=metadata.icc,
            exif=metadata.exif and PREFIX + metadata.exif,
            xmp=metadata.xmp,
            dpi=metadata.dpi,
            comment=metadata.texts.get("comment"),
        )
        return {"quality": quality, "subsampling": 0 if quality > FULL_CHROMA_QUALITY else 2} | saved


FORMAT = JpegFormat()
