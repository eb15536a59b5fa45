"""Directories of TIFF files and of EXIF blocks: read their entries, and write them at another place of another file.

The layouts are those of TIFF 6.0, section 2, and of BigTIFF. Values stay bytes, in little-endian order, so that no value of
EXIF changes its type on its way.
"""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, SUB_IFDS = 34665, 34853, 40965, 330
DIRECTORY_TAGS = (EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD)
ELEMENT_BYTES = {  # of each type: BYTE, ASCII, SHORT, LONG, RATIONAL (2 LONG), signed ones, FLOAT, DOUBLE, IFD, 64 bits
    1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
RATIONALS = (5, 10)
MAX_ENTRIES, MAX_BYTES = 4096, 1 << 24  # of a directory, and of a value that is metadata


class Entry(NamedTuple):
    """An entry of a directory: its tag, the type and number of its values, and their bytes, little-endian."""

    tag: int
    type: int
    count: int
    data: bytes

    def read_numbers(self) -> list[float]:
        """Return the values of a number, or of several."""
        if self.type in RATIONALS:
            pairs = np.frombuffer(self.data, "<u4" if self.type == RATIONAL else "<i4").reshape(-1, 2)
            return [float(numerator) / max(float(denominator), 1.0) for numerator, denominator in pairs]
        kinds = {1: "u1", 3: "<u2", 4: "<u4", 6: "i1", 7: "u1", 8: "<i2", 9: "<i4", 11: "<f4", 12: "<f8", 13: "<u4"}
        return [float(value) for value in np.frombuffer(self.data, kinds.get(self.type, "<u8"))]


class Layout(NamedTuple):
    """The byte order of a file, and whether it is a BigTIFF, whose offsets have 64 bits."""

    order: str = "<"
    is_big: bool = False

    @property
    def offset(self) -> str:
        """The format of an offset for `struct`."""
        return self.order + ("Q" if self.is_big else "I")

    @property
    def offset_bytes(self) -> int:
        """The bytes of an offset."""
        return 8 if self.is_big else 4


def read_layout(file: BinaryIO) -> tuple[Layout, int]:
    """Return the layout and the offset of the first directory. Raises `ValueError` or `struct.error` if damaged."""
    head = file.read(16)
    orders = {b"II": "<", b"MM": ">"}
    if head[:2] not in orders:
        raise ValueError("no TIFF structure")
    order = orders[head[:2]]
    is_big = struct.unpack_from(order + "H", head, 2)[0] == 43
    return Layout(order, is_big), struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)[0]


def read_raw_entries(file: BinaryIO, layout: Layout, offset: int) -> list[tuple[int, int, int, bytes]]:
    """Return tag, type, number of values and value, or its offset, of the entries of the directory at `offset`.

    The file is then at the offset of the next directory; if it ends before, the last entries are missing. Raises `ValueError`
    or `struct.error` if there is no directory.
    """
    file.seek(offset)
    count_format, entry_format = (layout.order + "Q", "HHQ8s") if layout.is_big else (layout.order + "H", "HHI4s")
    (count,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
    if count > MAX_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    size = struct.calcsize(layout.order + entry_format)
    block = file.read(count * size)
    return list(struct.iter_unpack(layout.order + entry_format, block[: len(block) // size * size]))


def read_directory(file: BinaryIO, layout: Layout, offset: int) -> dict[int, Entry]:
    """Return the entries of the directory at `offset`; those that are damaged or huge are left out.

    Raises `ValueError` or `struct.error` if the directory itself is damaged.
    """
    entries: dict[int, Entry] = {}
    for tag, kind, number, value in read_raw_entries(file, layout, offset):
        width = ELEMENT_BYTES.get(kind, 0) * (2 if kind in RATIONALS else 1)
        length = width * number
        if not width or length > MAX_BYTES:
            continue
        if length > layout.offset_bytes:
            file.seek(struct.unpack(layout.offset, value)[0])
            value = file.read(length)  # noqa: PLW2901
        if len(value) >= length:
            entries.setdefault(tag, Entry(tag, kind, number, _to_little_endian(value[:length], kind, layout.order)))
    return entries


def list_tags(file: BinaryIO, layout: Layout, offset: int) -> tuple[list[int], int]:
    """Return the tags of the directory at `offset`, in its order, and the offset of the next one, or 0.

    Raises `ValueError` or `struct.error` if the file ends before.
    """
    tags = [tag for tag, *_ in read_raw_entries(file, layout, offset)]
    (following,) = struct.unpack(layout.offset, file.read(layout.offset_bytes))
    return tags, following


def read_file_directory(path: Path) -> tuple[dict[int, Entry], dict[int, dict[int, Entry]]]:
    """Return the entries of a TIFF file's first directory, and those of its EXIF and GPS directories."""
    with path.open("rb") as file:
        return read_all(file)


def read_all(file: BinaryIO) -> tuple[dict[int, Entry], dict[int, dict[int, Entry]]]:
    """Return the entries of the first directory of a TIFF structure, and those of its EXIF and GPS directories."""
    layout, offset = read_layout(file)
    entries, inner = read_directory(file, layout, offset), {}
    for tag in (EXIF_IFD, GPS_IFD):
        if tag in entries:
            try:
                inner[tag] = read_directory(file, layout, int(entries[tag].read_numbers()[0]))
            except (ValueError, IndexError, OverflowError, struct.error):  # the pixels are right nevertheless
                continue
            inner[tag].pop(INTEROPERABILITY_IFD, None)
    return entries, inner


def pack_directory(entries: list[Entry], offset: int, layout: Layout, following: int = 0) -> tuple[bytes, int]:
    """Return a directory that begins at `offset`, with its values behind it, and the position of its link to the next.

    `following` is that link: the offset of the next directory, or 0.
    """
    count_format = layout.order + ("Q" if layout.is_big else "H")
    entry_format = layout.order + ("HHQ" if layout.is_big else "HHI")
    size = struct.calcsize(entry_format) + layout.offset_bytes
    link = struct.calcsize(count_format) + len(entries) * size
    block, values = struct.pack(count_format, len(entries)), b""
    for tag, kind, count, data in sorted(entries):
        if len(data) > layout.offset_bytes:
            value = struct.pack(layout.offset, offset + link + layout.offset_bytes + len(values))
            values += data + bytes(len(data) % 2)  # values begin at even offsets
        else:
            value = data.ljust(layout.offset_bytes, b"\0")
        block += struct.pack(entry_format, tag, kind, count) + value
    return block + struct.pack(layout.offset, following) + values, offset + link


def make_entry(tag: int, kind: int, *values: int) -> Entry:
    """Return an entry of SHORT, LONG, RATIONAL (numerator, denominator, …) or LONG8 values."""
    data = np.array(values, {SHORT: "<u2", LONG8: "<u8"}.get(kind, "<u4")).tobytes()
    return Entry(tag, kind, len(values) // (2 if kind == RATIONAL else 1), data)


def _to_little_endian(data: bytes, kind: int, order: str) -> bytes:
    width = ELEMENT_BYTES[kind]
    if order == "<" or width == 1:
        return data
    return np.frombuffer(data, f">u{width}").astype(f"<u{width}").tobytes()
