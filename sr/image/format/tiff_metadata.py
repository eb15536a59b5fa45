"""Metadata of TIFF files: color profile, resolution, EXIF, XMP and texts are copied; what states the place of a pixel is not."""

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from sr.image.damage import report_damage
from sr.image.exif import clean_exif, clean_xmp
from sr.image.file_format import Header, Metadata
from sr.image.format.tiff_tags import (
    BYTE,
    LONG,
    LONG8,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Entry,
    Layout,
    make_entry,
    pack_directory,
    read_all,
    read_file_directory,
)  # fmt: skip
from sr.image.tiff import GDAL_NODATA, list_geo_tags

DESCRIPTION, SOFTWARE, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT = 270, 305, 274, 282, 283, 296
XMP, IPTC, ICC = 700, 33723, 34675
TEXTS = (269, DESCRIPTION, 271, 272, 285, SOFTWARE, 306, 315, 316, 33432)  # document, camera, date, artist, copyright …
RATINGS = (
    18246,
    18249,
    40091,
    40092,
    40093,
    40094,
    40095,
)  # Windows: rating, title, comment, author, keywords, topic
INCH, CENTIMETER = 2, 3  # of UNIT; 1: none, the resolution is an aspect ratio
STATING_SIZE = (b"ImageJ=", b"<?xml", b"<OME", b'{"shape"')  # how descriptions begin that state the size of the pixels
PREFIX = b"Exif\0\0"


class TiffNative(NamedTuple):
    """Hold what only a TIFF writer uses of a TIFF file."""

    compression: int = 8  # the tag of the first page
    iptc: Entry | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what a result of another format has not."""
        return ("IPTC",) if self.iptc else ()


def read_metadata(path: Path, is_converted: bool) -> Metadata:
    """Return the metadata of a file's first page. `is_converted`: its pixels are sRGB, whatever its color profile says.

    Raises `UserError` if the directory is damaged; parts of it that are damaged are left out.
    """
    with report_damage(path):
        tags, inner = read_file_directory(path)
        icc = tags.get(ICC)
        xmp = tags.get(XMP)
        exif = [tags[tag] for tag in (*TEXTS, *RATINGS) if tag in tags and not _states_size(tags[tag])]
        native = TiffNative(int(tags[259].read_numbers()[0]) if 259 in tags else 1, tags.get(IPTC))
        return Metadata(
            icc=icc.data if icc and _is_profile(icc) and not is_converted else None,
            exif=_build_exif(exif, inner),
            xmp=clean_xmp(xmp.data) if xmp else None,
            dpi=_read_dpi(tags),
            unread=tuple(_list_unread(tags)),
            native=native,
        )


def list_entries(metadata: Metadata, header: Header) -> list[Entry]:
    """Return the entries of a page for all metadata that need no directory of their own."""
    tags, _ = _read_exif(metadata)
    entries = [tags[tag] for tag in (*TEXTS, *RATINGS) if tag in tags]
    if metadata.dpi:
        values = [Fraction(value).limit_denominator(10_000).as_integer_ratio() for value in metadata.dpi]
        entries += [
            make_entry(tag, RATIONAL, *pair) for tag, pair in zip((X_RESOLUTION, Y_RESOLUTION), values, strict=True)
        ]
        entries.append(make_entry(UNIT, SHORT, INCH))
    if metadata.xmp:
        entries.append(Entry(XMP, 1, len(metadata.xmp), metadata.xmp))
    if metadata.icc:
        entries.append(Entry(ICC, UNDEFINED, len(metadata.icc), metadata.icc))
    if isinstance(metadata.native, TiffNative) and metadata.native.iptc:
        entries.append(metadata.native.iptc)
    return entries


def pack_exif(metadata: Metadata, offset: int, layout: Layout) -> tuple[bytes, list[Entry]]:
    """Return the EXIF and GPS directories, the first of which begins at `offset`, and the entries that point to them."""
    _, inner = _read_exif(metadata)
    blocks, pointers = b"", []
    for tag, entries in inner.items():
        pointers.append(make_entry(tag, LONG8 if layout.is_big else LONG, offset + len(blocks)))
        blocks += pack_directory(list(entries.values()), offset + len(blocks), layout)[0]
    return blocks, pointers


def _read_exif(metadata: Metadata) -> tuple[dict[int, Entry], dict[int, dict[int, Entry]]]:
    if not metadata.exif:
        return {}, {}
    try:
        return read_all(io.BytesIO(metadata.exif.removeprefix(PREFIX)))
    except (ValueError, struct.error):  # nothing can be copied from it
        return {}, {}


def _build_exif(tags: list[Entry], inner: dict[int, dict[int, Entry]]) -> bytes | None:
    """Return an EXIF block of these entries, as other formats store it; None if there are none."""
    if not tags and not any(inner.values()):
        return None
    layout, blocks = Layout(), b"II*\0" + bytes(4)
    for tag, entries in inner.items():
        tags = [*tags, make_entry(tag, LONG, len(blocks))]
        blocks += pack_directory(list(entries.values()), len(blocks), layout)[0]
    first = len(blocks)
    blocks += pack_directory(tags, first, layout)[0]
    return clean_exif(blocks[:4] + struct.pack("<I", first) + blocks[8:])


def _states_size(entry: Entry) -> bool:
    return entry.tag == DESCRIPTION and entry.data.lstrip().startswith(STATING_SIZE)


def _is_profile(entry: Entry) -> bool:
    return entry.type in (BYTE, UNDEFINED) and entry.data[36:40] == b"acsp"  # ICC.1:2022, section 7.2


def _list_unread(tags: dict[int, Entry]) -> list[str]:
    values = {tag: entry.data.rstrip(bytes(1)).decode("latin1") for tag, entry in tags.items() if tag == GDAL_NODATA}
    unread = list_geo_tags({**tags, **values})
    unread += ["a color profile that cannot be read"] * (ICC in tags and not _is_profile(tags[ICC]))
    return unread + ["a description that states its size"] * (DESCRIPTION in tags and _states_size(tags[DESCRIPTION]))


def _read_dpi(tags: dict[int, Entry]) -> tuple[float, float] | None:
    unit = int(tags[UNIT].read_numbers()[0]) if UNIT in tags else INCH
    if unit not in (INCH, CENTIMETER) or X_RESOLUTION not in tags or Y_RESOLUTION not in tags:
        return None
    x, y = (tags[tag].read_numbers()[0] * (2.54 if unit == CENTIMETER else 1.0) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return (x, y) if min(x, y) > 1 else None  # 0 and 1 are what programs write that know none
