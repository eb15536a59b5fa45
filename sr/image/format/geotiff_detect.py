"""Recognize a TIFF that states the place of its pixels or which of them are data, by its tags: no library is needed for it."""

import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sr.image.format.tiff_tags import (
    ELEMENT_BYTES,
    MAX_ENTRIES,
    RATIONALS,
    Layout,
    list_tags,
    read_directory,
    read_layout,
    read_raw_entries,
)
from sr.image.tiff import GDAL_METADATA, GDAL_NODATA, GEO_TAGS, MASK

SUBFILE_TYPE, GEO_KEYS = 254, 34735
GEO_VALUES = (0, GEO_KEYS, 34736, 34737)  # tags that values of keys are in; 0: the value is in the key itself
SIDECARS = (".msk", ".aux.xml")  # appended to the name of a TIFF: its mask; what else GDAL could not write into it
WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld")  # in place of its suffix: the place of its pixels

NUMBER = re.compile(r"\s*[-+]?(\.?\d|nan|inf)", re.IGNORECASE)  # the beginning of one: Windows writes nan as -1.#IND


class RasterTraits(NamedTuple):
    """Describe what makes a TIFF a GeoTIFF."""

    is_raster: bool = False  # it has geographic tags, metadata of GDAL or a mask
    mask: str = ""  # what states which samples are data: `nodata value 0`, `an internal mask`, or nothing
    damage: str = ""  # why a directory, or a value of one, cannot be read


def read_traits(path: Path) -> RasterTraits:
    """Return the traits of a TIFF file; of one whose first directory cannot be read, none."""
    sidecars = [name for name in SIDECARS if path.with_name(path.name + name).exists()]
    has_world_file = any(path.with_suffix(suffix).exists() for suffix in WORLD_FILES)
    masks = [f"a mask ({path.name}.msk)"] if ".msk" in sidecars else []
    is_raster, damage = bool(sidecars) or has_world_file, ""
    with path.open("rb") as file:
        try:
            layout, offset = read_layout(file)
            tags = read_directory(file, layout, offset)
        except (ValueError, OverflowError, OSError, struct.error):
            return RasterTraits()
        is_raster |= any(tag in tags for tag in (*GEO_TAGS, GDAL_METADATA, GDAL_NODATA))
        if GDAL_NODATA in tags:
            value = tags[GDAL_NODATA].data.rstrip(b"\0 ").decode("latin1")
            masks.insert(0, f"nodata value {value[:40]}")
            damage = "" if NUMBER.match(value) else "its nodata value is not a number"
        try:
            has_mask = _has_mask_directory(file, layout, offset)
        except (ValueError, OverflowError, OSError, struct.error) as error:
            damage, has_mask = str(error) if type(error) is ValueError else "its header ends early", False
    masks += ["an internal mask"] * has_mask
    return RasterTraits(is_raster or has_mask, " and ".join(masks), damage)


def check_directories(file: BinaryIO) -> None:
    """Raise `ValueError` if a directory of a TIFF structure is damaged: GDAL would print that."""
    try:
        _has_mask_directory(file, *read_layout(file))
    except (OverflowError, struct.error):
        raise ValueError("the place on Earth in its header ends early") from None


def _has_mask_directory(file: BinaryIO, layout: Layout, offset: int) -> bool:
    """Return True if a directory is the mask of another one. Raises `ValueError` or `struct.error` if one is damaged."""
    seen: set[int] = set()
    has_mask = False
    while offset and offset not in seen and len(seen) < MAX_ENTRIES:
        seen.add(offset)
        _check_values(file, layout, offset)
        tags = read_directory(file, layout, offset)
        if GEO_KEYS in tags:
            _check_geo_keys([int(number) for number in tags[GEO_KEYS].read_numbers()])
        entry = tags.get(SUBFILE_TYPE)
        has_mask |= entry is not None and bool(int(entry.read_numbers()[0]) & MASK)
        offset = list_tags(file, layout, offset)[1]
    return has_mask


def _check_geo_keys(numbers: list[int]) -> None:
    """Raise `ValueError` if a directory of keys (GeoTIFF 1.1, section 7.1.2) is damaged: GDAL would print that."""
    count = numbers[3] if len(numbers) > 3 else 0
    keys = [numbers[4 * k : 4 * k + 4] for k in range(1, count + 1)]
    if not all(len(key) == 4 and key[1] in GEO_VALUES and (key[1] or key[2] == 1) for key in keys):
        raise ValueError("its geographic keys cannot be read")


def _check_values(file: BinaryIO, layout: Layout, offset: int) -> None:
    """Raise `ValueError` if a value of a directory ends behind the end of the file: decoders leave it out."""
    end = file.seek(0, 2)
    for tag, kind, number, value in read_raw_entries(file, layout, offset):
        length = ELEMENT_BYTES.get(kind, 0) * (2 if kind in RATIONALS else 1) * number
        if not ELEMENT_BYTES.get(kind):
            raise ValueError(f"its tag {tag} has a value of the unknown type {kind}")
        if length > layout.offset_bytes and struct.unpack(layout.offset, value)[0] + length > end:
            raise ValueError(f"its tag {tag} cannot be read")
