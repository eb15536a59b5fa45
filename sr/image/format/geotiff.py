"""GeoTIFF and COG: place on Earth, masks, any number of bands, read and written in windows (pip install 'sr[satellite]').

A TIFF is one if it has geographic tags, a nodata value, metadata of GDAL, an internal mask, or files that state these next to
it; JPEG 2000 with a place is read in the same way. Samples that are no data are `False` in `Frame.valid`, and estimates from
their neighbors in `Frame.pixels`.
"""

import re
import textwrap
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sr.image.damage import MAX_REASON, report_damage
from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    Window,
    WriteOptions,
)
from sr.image.format.geotiff_detect import read_traits
from sr.image.format.geotiff_library import collect_messages, find_driver, report_decoder_warnings, use_rasterio
from sr.image.format.geotiff_pixels import read_window
from sr.image.format.geotiff_range import SHARE, find_range
from sr.image.format.geotiff_source import GeoSource, describe_source, list_lost_parts
from sr.image.format.geotiff_write import GeoTiffWriter, read_native
from sr.image.format.tiff_deflate import DeflateChecker
from sr.image.limits import check_decoded_size
from sr.runtime.error import UserError

SMALL_BYTES = 1 << 25  # of a decoded row of blocks that is never too much
TYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


class GeoTiffFile(ImageFile):
    """A GeoTIFF that rasterio reads. `warnings` are those of GDAL about its header."""

    def __init__(
        self, path: Path, dataset: Any, source: GeoSource, limits: tuple[float, float] | None, warnings: list[str]
    ) -> None:
        self.path, self.source, self._dataset = path, source, dataset
        self._checker = DeflateChecker(path)
        row_bytes = source.block[0] * source.width * source.pixel_bytes
        self.is_windowed = row_bytes <= max(SMALL_BYTES, source.height * source.width * source.pixel_bytes // 4)
        check_decoded_size(path, source.block[0], source.width, source.pixel_bytes)
        low, high = find_range(source) if limits is None else limits
        channels, is_8_bit = len(source.indexes), source.dtype.name == "uint8" and limits is None
        self.header = Header(
            source.height, source.width, "color" if channels == 3 else "gray", 1, "GeoTIFF", channels,
            source.alpha is not None, TYPES[source.frame_dtype.name], low, high, is_limited=is_8_bit,
            has_mask=source.has_mask,
        )  # fmt: skip
        notes = [f"its header may be damaged: {text}" for text in dict.fromkeys(map(_shorten, warnings))]
        if not is_8_bit:
            beyond = "" if limits else f", the {SHARE:.1%} and {1 - SHARE:.1%} percentiles; values beyond them stay"
            notes.append(f"black and white for the network are {low:g} and {high:g}{beyond}")
        self.notes = tuple(notes)

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata: what a GeoTIFF gets is in `native`."""
        with report_damage(self.path), use_rasterio(self.path):
            native = read_native(self._dataset, self.source)
            return Metadata(is_lossless=True, unread=tuple(list_lost_parts(self._dataset, self.source)), native=native)

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode the image, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        source = self.source
        with report_damage(self.path), use_rasterio(self.path), report_decoder_warnings(self.path):
            if window is None:
                window = Window(0, 0, source.height, source.width)
                check_decoded_size(self.path, source.height, source.width, source.pixel_bytes)
            self._checker.check(window.top, window.top + window.height)
            middle = (self.header.black + self.header.white) / 2
            return Frame(*read_window(self._dataset, source, window, middle))

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        with use_rasterio(self.path):
            self._dataset.close()


class GeoTiffFormat(FileFormat):
    """GeoTIFF."""

    name, suffixes, extra = "GeoTIFF", (".tif", ".tiff"), "satellite"
    is_native = holds_mask = True
    read_options = ("bands", "range")

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file, and its range. Raise `UserError` if it is damaged or its samples are not read."""
        if options.range == "window":
            raise UserError(f"{path}: range=window: expected two values, such as [0,3000]: a GeoTIFF has no window")
        with report_damage(path), use_rasterio(path) as rasterio:
            damage = read_traits(path).damage
            if damage:
                raise ValueError(damage)
            with collect_messages(path) as warnings:
                dataset = rasterio.open(path, driver=find_driver(path), sharing=False)
            try:
                source = describe_source(path, dataset, options.bands)
                return GeoTiffFile(path, dataset, source, options.range, warnings)
            except BaseException:
                dataset.close()
                raise

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        return GeoTiffWriter(path, header, metadata.native)

    def limit_header(self, header: Header) -> Header:
        """Return the header: a result has the numbers of its source."""
        return header._replace(format=self.name)


FORMAT = GeoTiffFormat()


def _shorten(warning: str) -> str:
    """Return a warning without the name of libtiff's function, and with at most 200 characters, in one line."""
    return textwrap.shorten(re.sub(r"^TIFF\w+:", "", warning), MAX_REASON)
