"""TIFF: 8 and 16 bits, float, alpha, bands, pages, strips and tiles, read in windows (pip install 'sr[images]').

Without tifffile and imagecodecs, files of 8 bits are read by Pillow, and everything is written: of what is written, only
LZW and Zstandard need imagecodecs, and become deflate.
"""

import contextlib
import importlib.util
import itertools
import logging
import struct
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr.image.damage import UnsupportedImageError, report_damage
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
from sr.image.format.geotiff_library import is_rasterio_installed, report_decoder_warnings, use_rasterio
from sr.image.format.tiff_metadata import ORIENTATION, read_metadata
from sr.image.format.tiff_pixels import CONVERTED, JPEG, PALETTE, SampleConverter
from sr.image.format.tiff_segments import FAX, SegmentReader
from sr.image.format.tiff_tags import ASCII, Entry, Layout, list_tags, read_directory
from sr.image.format.tiff_write import TiffWriter
from sr.image.limits import check_decoded_size
from sr.image.pillow_file import find_stored_box, turn_upright
from sr.image.pillow_writer import fit_metadata
from sr.image.tiff import DNG_VERSION, MASK, REDUCED

OLD_JPEG = 6  # compression, of TIFF 6.0
PIXEL_TAGS = {
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347, 530,
}  # fmt: skip
TEXTS, RESOLUTIONS = (269, 270, 271, 272, 305, 306, 315, 316), (282, 283)
SCANNED_ROWS = 256  # at a time, for the range of float samples


class TiffImage(ImageFile):
    """A TIFF file that tifffile reads. Its range, if its samples are float, is found when the header is asked for."""

    def __init__(self, path: Path, tiff: Any) -> None:
        self.path, self._tiff = path, tiff
        first = tiff.pages[0]
        self.notes = _check_directories(tiff)
        if DNG_VERSION in first.tags or first.subfiletype & REDUCED:
            raise UnsupportedImageError(f"{path}: its first page is a small preview (camera RAW?); convert it to PNG")
        self._numbers = _list_images(list(tiff.pages))
        orientation = first.tags.valueof(ORIENTATION)
        self._orientation = orientation if orientation in range(2, 9) else 1
        self._frame, self._checked = -1, set()
        self._open_page(0)
        self.notes += (*self._segments.notes, *self._converter.notes)
        self.is_windowed = self._segments.is_windowed and self._orientation < 5
        if not self.is_windowed:
            check_decoded_size(path, *self._upright_size, self._segments.pixel_bytes)
        self.has_palette = self._converter.photometric == PALETTE

    @cached_property
    def header(self) -> Header:  # type: ignore[override]
        """The header. Raises `UserError` if float samples are not finite."""
        height, width = self._upright_size
        black, white = 0.0, self._converter.white
        if self._converter.dtype == np.float32:
            black, white = self._find_range()
        return Header(
            height, width, "gray" if self._converter.channels == 1 else "color", len(self._numbers), "TIFF",
            self._converter.channels, self._converter.has_alpha, _to_torch(self._converter.dtype), black, white,
        )  # fmt: skip

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata of the first page."""
        metadata = read_metadata(self.path, is_converted=self._converter.photometric in CONVERTED[1:])
        dtype = self._segments.page.dtype
        if dtype.itemsize > 4 or (dtype.itemsize == 4 and dtype.kind != "f"):
            metadata = metadata._replace(unread=(*metadata.unread, f"{dtype.name} beyond the 24 bits of float32"))
        return metadata

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a page, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        with report_damage(self.path):
            self._open_page(frame)
            if window is None:
                window = Window(0, 0, *self._upright_size)
                check_decoded_size(self.path, *self._upright_size, self._segments.pixel_bytes)
            size = self._segments.width, self._segments.height
            left, top, width, height = find_stored_box(window, self._orientation, size)
            pixels, alpha = self._converter.convert(self._segments.read(top, left, height, width))
            return Frame(self._to_upright(pixels), None if alpha is None else self._to_upright(alpha))

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._segments.release()
        self._tiff.close()

    @property
    def _upright_size(self) -> tuple[int, int]:
        size = self._segments.height, self._segments.width
        return size if self._orientation < 5 else size[::-1]

    def _open_page(self, frame: int) -> None:
        if frame == self._frame:
            return
        page = self._tiff.pages[self._numbers[frame]]
        segments, converter = SegmentReader(self.path, page), SampleConverter(self.path, page)
        if page.compression in FAX and self._numbers[frame] not in self._checked and is_rasterio_installed():
            _check_by_gdal(self.path, self._numbers[frame])
            self._checked.add(self._numbers[frame])
        if self._frame >= 0:
            expected, found = (
                (s.height, s.width, c.channels, c.has_alpha, c.dtype, c.white)
                for s, c in ((self._segments, self._converter), (segments, converter))
            )
            if found != expected:
                raise UnsupportedImageError(
                    f"{self.path}: page {frame + 1} has {found[1]}×{found[0]} pixels of {found[2]} channels ({found[4]}), "
                    f"the first one {expected[1]}×{expected[0]} of {expected[2]} ({expected[4]}); save its pages as files"
                )
            self._segments.release()
        self._segments, self._converter, self._frame = segments, converter, frame

    def _to_upright(self, array: np.ndarray) -> Tensor:
        """Return `[C, H, W]`, upright, of `[h, w, C]` as stored. It is a copy: what is cached must not change."""
        layers = torch.from_numpy(np.array(array.transpose(2, 0, 1), order="C"))
        return turn_upright(layers, self._orientation)

    def _find_range(self) -> tuple[float, float]:
        """Return the values that are black and white: 0…1 if all samples are in it, else the smallest and the largest."""
        low, high = np.inf, -np.inf
        with report_damage(self.path):
            for frame in range(len(self._numbers)):
                self._open_page(frame)
                for top in range(0, self._segments.height, SCANNED_ROWS):
                    rows = min(SCANNED_ROWS, self._segments.height - top)
                    pixels, _ = self._converter.convert(self._segments.read(top, 0, rows, self._segments.width))
                    self._require_data(pixels, top)
                    low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
        self._open_page(0)
        is_integer = self._segments.page.dtype.kind in "iu"
        if low >= 0 and high <= 1 and not is_integer:
            return 0.0, 1.0
        return low, high if high > low else low + 1.0

    def _require_data(self, pixels: np.ndarray, top: int) -> None:
        """Raise `UnsupportedImageError` if pixels are NaN or infinite."""
        has_data = np.isfinite(pixels)
        if not has_data.all():
            row = top + int(np.argmax(~has_data.all(axis=(1, 2)))) + 1
            raise UnsupportedImageError(
                f"{self.path}: pixels that are NaN or infinite (the first one in row {row}); replace them by numbers, "
                "or have them read as missing data: pip install 'sr[satellite]', and add a nodata value"
            )


class TiffFormat(FileFormat):
    """TIFF."""

    name, suffixes, extra = "TIFF", (".tif", ".tiff"), "images"
    held = ("icc", "exif", "xmp", "dpi")
    read_options = ("bands", "range")

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file. Raise `UserError` if it is damaged or its pixels are not read.

        A GeoTIFF, or some bands or a range of any TIFF, is opened by rasterio.
        """
        from sr.image.format.geotiff import FORMAT as GEOTIFF
        from sr.image.format.pillow_tiff import FORMAT as PILLOW_TIFF

        traits = read_traits(path)
        if (traits.is_raster and is_rasterio_installed()) or options != READ_ALL:
            return GEOTIFF.open(path, options)
        if traits.mask:
            raise UnsupportedImageError(
                f"{path}: a GeoTIFF with {traits.mask}, which would leak into the data next to it, needs rasterio: "
                "pip install 'sr[satellite]'"
            )
        if not all(map(importlib.util.find_spec, ("tifffile", "imagecodecs"))):
            return PILLOW_TIFF.open(path)
        import tifffile

        tifffile.logger().setLevel(logging.CRITICAL)  # what it warns of is checked here
        with contextlib.ExitStack() as stack, report_damage(path):
            tiff = stack.enter_context(tifffile.TiffFile(path))
            if not len(tiff.pages):
                raise ValueError("its header cannot be read")
            first = tiff.pages[0]
            if not (first.compression == OLD_JPEG or (first.is_subsampled and first.compression not in JPEG)):
                image = TiffImage(path, tiff)
                stack.pop_all()
                return image
        return PILLOW_TIFF.open(path)  # which has libtiff decode what tifffile does not

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        return TiffWriter(path, header, fit_metadata(metadata, header))

    def limit_header(self, header: Header) -> Header:
        """Return the header of the TIFF that is next to `header`: of integers, white is the largest number."""
        white = {torch.uint8: 255.0, torch.uint16: 65535.0}.get(header.dtype)
        if white is None:
            return header._replace(format=self.name)
        return header._replace(format=self.name, black=0.0, white=white)


FORMAT = TiffFormat()


def _check_directories(tiff: Any) -> tuple[str, ...]:
    """Raise `ValueError` if tifffile has left out a page, or a tag that the pixels depend on, because the file ends early.

    Returns notes about other signs of damage.
    """
    file, layout, following = tiff.filehandle, Layout(tiff.byteorder, tiff.is_bigtiff), 0
    found = []
    for page in tiff.pages:
        try:
            tags, following = list_tags(file, layout, page.offset)
        except struct.error:
            raise ValueError("its header ends early") from None
        missing = [tag for tag in tags if tag not in page.tags]
        for tag in missing:
            if tag in PIXEL_TAGS:
                raise ValueError(f"its tag {tag} cannot be read")
            found.append(f"its tag {tag} cannot be read")
        for tag, entry in read_directory(file, layout, page.offset).items():
            if not _is_regular(entry):
                found.append(f"its tag {tag} has another type or number of values than it should have")
        if tags != sorted(set(tags)):
            found.append("its tags are not in ascending order")
    if following:
        raise ValueError(f"page {len(tiff.pages) + 1} cannot be read")
    return tuple(f"its header may be damaged: {reason}" for reason in dict.fromkeys(found))


def _is_regular(entry: Entry) -> bool:
    """Return False if a text does not end with a zero, or a resolution is not one number."""
    if entry.tag in TEXTS:
        return entry.type == ASCII and entry.data.endswith(b"\0")
    return entry.tag not in RESOLUTIONS or entry.count == 1


def _check_by_gdal(path: Path, number: int) -> None:
    """Raise `ValueError` if GDAL reports damage of a page, which tifffile's decoder of fax passes over."""
    with use_rasterio(path) as rasterio, rasterio.open(f"GTIFF_DIR:{number + 1}:{path}", driver="GTiff") as dataset:
        for _, block in dataset.block_windows(1):
            with report_decoder_warnings(path):
                dataset.read(window=block)


def _list_images(pages: list[Any]) -> list[int]:
    """Return the numbers of the pages that are images: smaller copies and masks are not, flagged or not."""
    numbers = [k for k, page in enumerate(pages) if not page.subfiletype & (REDUCED | MASK)] or [0]
    sizes = [(pages[k].imagelength, pages[k].imagewidth) for k in numbers]
    # ImageMagick does not flag the levels of a pyramid.
    steps = itertools.pairwise(sizes)
    is_pyramid = all(abs(large - 2 * small) <= 1 for step in steps for large, small in zip(*step, strict=True))
    return numbers[:1] if is_pyramid and max(sizes[0]) > 2 else numbers


def _to_torch(dtype: np.dtype) -> torch.dtype:
    return {"uint8": torch.uint8, "uint16": torch.uint16}.get(dtype.name, torch.float32)
