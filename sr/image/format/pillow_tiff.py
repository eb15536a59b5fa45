"""TIFF with 8 bits per channel, read by Pillow: what is read without sr[images]."""

from pathlib import Path
from typing import Any

from PIL import Image

from sr.image.damage import ADVICE, UnsupportedImageError
from sr.image.file_format import READ_ALL, Header, ImageFile, Metadata, ReadOptions, WriteOptions
from sr.image.metadata import describe_exif
from sr.image.pillow_file import GRAY_16_MODES, ORIENTATION_TAG, TRANSPOSING_ORIENTATIONS, PillowFile, is_16_bit
from sr.image.pillow_writer import PillowFormat, select_options
from sr.image.tiff import MORE, describe_samples, explain_unread_tiff, list_geo_tags, list_pages
from sr.runtime.error import UserError

WIDTH_TAG, HEIGHT_TAG = 256, 257


class PillowTiffFile(PillowFile):
    """A TIFF file."""

    def build_header(self) -> Header:
        """Return the header of the opened image, of which nothing is decoded."""
        height, width = (self.image.tag_v2[tag] for tag in (HEIGHT_TAG, WIDTH_TAG))
        if Image.Image.getexif(self.image).get(ORIENTATION_TAG, 1) in TRANSPOSING_ORIENTATIONS:
            height, width = width, height
        return super().build_header()._replace(height=height, width=width)

    def count_frames(self) -> int:
        """Return the number of pages that are images."""
        self._pages = list_pages(self.image)
        return len(self._pages)

    def seek(self, frame: int) -> None:
        """Go to a frame."""
        self.image.seek(self._pages[frame])

    def find_orientation(self) -> int:
        """Return 1: Pillow has turned the pixels already."""
        return 1

    def list_unread(self) -> tuple[str, ...]:
        """Return the names of the metadata that no result gets."""
        try:
            exif = Image.Image.getexif(self.image)  # the tags of the pixels are among them
            return (*list_geo_tags(self.image.tag_v2), *describe_exif(exif, set(exif)), *super().list_unread())
        except Exception:  # damaged tags may lead to every kind of it, and the pixels are right nevertheless
            return ("metadata that cannot be read",)


class PillowTiffFormat(PillowFormat):
    """TIFF."""

    name, suffixes, decoders = "TIFF", (".tif", ".tiff"), ("TIFF",)
    held = ("icc", "dpi")
    file_class = PillowTiffFile
    has_frames = True

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file of this format. Raise `UserError` if it is damaged or its pixels are not read."""
        try:
            file = super().open(path, options)
            if is_16_bit(file.image) and file.image.mode not in GRAY_16_MODES:  # Pillow drops the lower 8 bits
                file.close()
                raise UnsupportedImageError(f"{path}: 16 bits per channel")
        except UserError as error:
            is_other = isinstance(error, UnsupportedImageError) or str(error).endswith(ADVICE)
            samples = describe_samples(path) if is_other else ""
            if not samples:
                raise
            raise UnsupportedImageError(f"{path}: {samples}, {MORE}") from None
        reason = explain_unread_tiff(file.image)
        if reason:
            file.close()
            raise UnsupportedImageError(f"{path}: {reason}")
        return file

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        return {"compression": "tiff_adobe_deflate"} | select_options(icc_profile=metadata.icc, dpi=metadata.dpi)


FORMAT = PillowTiffFormat()
