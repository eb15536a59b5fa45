"""Describe a GeoTIFF: its bands, where its mask comes from, and what no result gets of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sr.image.damage import UnsupportedImageError
from sr.runtime.error import UserError

EXACT_TYPES = ("uint8", "int8", "uint16", "int16", "float32")  # whose numbers a float32 holds
INEXACT_TYPES = ("uint32", "int32", "uint64", "int64", "float64")
# Domains of metadata that GDAL writes itself, and those that are not copied -> what is lost.
STRUCTURE = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "xml:gml.")
LOST = {"COLOR_PROFILE": "color profile", "xml:XMP": "XMP", "EXIF": "EXIF", "GEOLOCATION": "geolocation arrays"}
LOSSLESS = ("lzw", "deflate", "zstd", "packbits", "lzma")


class GeoSource(NamedTuple):
    """A GeoTIFF whose header is read and checked."""

    path: Path
    height: int
    width: int
    dtype: np.dtype
    bits: int  # of a sample
    indexes: tuple[int, ...]  # the numbers of the bands, from 1, in the order of the channels
    stored: tuple[int, ...]  # the same numbers in the order of the result
    alpha: int | None  # the number of the alpha band
    has_mask: bool  # some samples may be no data
    is_mask_shared: bool  # one mask for all bands; False: each band has a nodata value
    mask: str  # what the result states its mask by: `nodata`, `internal`, `alpha`, or nothing
    nodata: float | None
    block: tuple[int, int]  # height and width of a strip or tile
    is_tiled: bool

    @property
    def pixel_bytes(self) -> int:
        """The bytes of one pixel in a frame."""
        return (len(self.indexes) + (self.alpha is not None)) * self.frame_dtype.itemsize

    @property
    def frame_dtype(self) -> np.dtype:
        """The type of a frame's samples: uint8, uint16 or float32."""
        return self.dtype if self.dtype.name in ("uint8", "uint16") else np.dtype(np.float32)


def describe_source(path: Path, dataset: Any, bands: Sequence[int] | None) -> GeoSource:
    """Return the description of an opened dataset of rasterio.

    `bands` are the numbers of the bands to read, from 1; None: all. Raises `UnsupportedImageError` if its samples are not
    read, and `UserError` if there are no such bands.
    """
    from rasterio.enums import ColorInterp, MaskFlags

    colors, types = dataset.colorinterp, set(dataset.dtypes)
    if len(types) > 1 or not types <= {*EXACT_TYPES, *INEXACT_TYPES}:
        raise UnsupportedImageError(
            f"{path}: a GeoTIFF of {' and '.join(sorted(types))}; save its magnitude, or its bands as files"
        )
    if ColorInterp.palette in colors:
        raise UnsupportedImageError(
            f"{path}: a GeoTIFF whose samples are numbers in a table of colors, or of classes, which have no values in "
            "between; convert it: gdal_translate -expand rgb"
        )
    alpha = colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None
    alpha = None if bands is not None and alpha in bands else alpha  # whoever names it knows better
    all_bands = [index for index in dataset.indexes if index != alpha]
    stored = all_bands if bands is None else list(bands)
    if bands is not None and (not stored or len(set(stored)) < len(stored) or not set(stored) <= set(all_bands)):
        raise UserError(
            f"{path}: bands=[{','.join(map(str, bands))}]: expected different numbers of its bands, 1 to "
            f"{len(dataset.indexes)}"
        )
    flags = {flag for index in stored for flag in dataset.mask_flag_enums[index - 1]}
    dtype = np.dtype(types.pop())
    is_shared = MaskFlags.per_dataset in flags or MaskFlags.nodata not in flags
    nodata = find_nodata(dataset, dtype)
    mask = "internal" if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags else ""
    if alpha and not mask and MaskFlags.nodata not in flags:  # of floats GDAL does not count alpha as a mask
        mask = "alpha"
    if MaskFlags.nodata in flags or (nodata is not None and not mask):
        mask = "nodata"
    return GeoSource(
        path, dataset.height, dataset.width, dtype,
        int(dataset.tags(stored[0], ns="IMAGE_STRUCTURE").get("NBITS", 8 * dtype.itemsize)),
        _order_colors(stored, colors) if bands is None else tuple(stored), tuple(stored), alpha,
        bool(mask) or alpha is not None or dtype.kind == "f", is_shared and dtype.kind != "f", mask, nodata,
        dataset.block_shapes[0], dataset.profile.get("tiled", False),
    )  # fmt: skip


def find_nodata(dataset: Any, dtype: np.dtype) -> float | None:
    """Return the nodata value; None if there is none, or the samples cannot have it."""
    nodata = dataset.nodatavals[0]
    if nodata is None or dtype.kind == "f":
        return nodata
    limits = np.iinfo(dtype)
    return nodata if limits.min <= nodata <= limits.max and nodata == int(nodata) else None


def list_lost_parts(dataset: Any, source: GeoSource) -> list[str]:
    """Return the names of what no result gets."""
    spaces = {space for space in dataset.tag_namespaces() if space}
    lost = []
    if "SUBDATASETS" in spaces:
        count = len(dataset.tags(ns="SUBDATASETS")) // 2
        lost.append(f"{count - 1} of {count} pages")
    lost += [
        LOST.get(space, space) for space in sorted(spaces) if not (is_copied(space) or space.startswith(STRUCTURE))
    ]
    if source.nodata is None and dataset.nodatavals[0] is not None:
        lost.append(f"nodata value {dataset.nodatavals[0]:g}, which no sample has")
    if source.dtype.name in INEXACT_TYPES:
        lost.append(f"{source.dtype.name} beyond the 24 bits of float32")
    return lost


def is_copied(space: str) -> bool:
    """Return True if a domain of metadata is copied to a result."""
    return space and space not in STRUCTURE and space not in LOST and not space.startswith("xml:")


def _order_colors(bands: Sequence[int], colors: Sequence[Any]) -> tuple[int, ...]:
    """Return the bands, of three that are red, green and blue in another order, in this one: networks see RGB."""
    from rasterio.enums import ColorInterp

    order = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    found = [colors[index - 1] for index in bands]
    if len(bands) == 3 and set(found) == set(order):
        return tuple(bands[found.index(color)] for color in order)
    return tuple(bands)
