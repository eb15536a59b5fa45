"""Find signs of damage in a DICOM file: what follows its pixels, the order and the types of its attributes, its geometry.

Bytes that are inserted into uncompressed pixels, or missing in them, leave other bytes than attributes at the end of the file.
"""

import math
import os
import struct
from collections.abc import Iterator, MutableSequence
from typing import TYPE_CHECKING, Any, BinaryIO

from sr.image.format.dicom_library import DicomDamageError
from sr.runtime.terminal import format_count

if TYPE_CHECKING:
    from pydicom import Dataset

PIXEL_DATA, ITEM, END_OF_ITEMS = 0x7FE00010, 0xFFFEE000, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF  # the length of a value that ends with an element of its own
LONG_TYPES = (
    b"OB",
    b"OD",
    b"OF",
    b"OL",
    b"OV",
    b"OW",
    b"SQ",
    b"SV",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"UV",
)  # lengths of 32 bits
# How many numbers an attribute has.
COUNTS = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6, "SliceThickness": 1}
META, META_LENGTH = 132, 0x00020000  # the byte at which the file meta information begins, and its first element
WARNING = "its header may be damaged: "
UNORDERED = f"{WARNING}its attributes are not in ascending order"
CHUNK = 1 << 20  # bytes


def check_end(file: BinaryIO, syntax: Any, length: int, needed: int) -> tuple[str, ...]:
    """Check the value of the pixel data, at the beginning of which `file` is, and all that follows it; return notes.

    `length` is that of the value, `needed` that of the pixels if they are not compressed. Raises `DicomDamageError` if what
    follows are not attributes.
    """
    order, notes = "<" if syntax.is_little_endian else ">", []
    start, end = file.seek(0, os.SEEK_CUR), file.seek(0, os.SEEK_END)
    if syntax.is_encapsulated:
        place, is_complete = _skip_items(file, start, end)
        notes += (
            [] if is_complete else [f"{WARNING}its compressed pixels do not end with the element that should end them"]
        )
    else:
        place = end if length == UNDEFINED else start + length
        excess = place - start - needed
        notes += [f"{WARNING}{excess} bytes after its pixels are left out"] if excess > 1 else []
    previous = PIXEL_DATA
    while place < end:
        element = _read_element(file, place, order, syntax.is_implicit_VR)
        if element is None or element[0] <= previous or element[1] > end:
            if not _is_zero(file, place):
                raise DicomDamageError(f"{end - place} bytes after its pixels are not DICOM: some were lost or added")
            notes.append(f"{WARNING}it ends with {end - place} zeros")
            break
        previous, place = element
    return tuple(notes)


def list_meta_notes(file: BinaryIO) -> list[str]:
    """Return notes about the order and the length of the file meta information, which has explicit VR, little endian."""
    tags, place, stated, end = [], META, None, file.seek(0, os.SEEK_END)
    while place < end:
        element = _read_element(file, place, "<", False)
        if element is None or element[0] >> 16 != 2:
            break
        if element[0] == META_LENGTH:
            file.seek(place + 8)
            stated = element[1] + int.from_bytes(file.read(4), "little")
        tags.append(element[0])
        place = element[1]
    notes = [] if tags == sorted(set(tags)) else [UNORDERED]
    if stated != place:
        notes.append(f"{WARNING}the length of its file meta information is not the stated one")
    return notes


def list_header_notes(dataset: "Dataset") -> list[str]:
    """Return notes about attributes out of order or of an unknown type, and about UIDs that differ; no value is quoted."""
    from pydicom.valuerep import VR

    known, notes = {str(vr) for vr in VR}, []
    for part in _iterate_items(dataset):
        tags = list(part.keys())
        notes += [] if tags == sorted(tags) else [UNORDERED]
        for tag in tags:
            kind = _get_type(part, tag)
            if kind not in known and (kind or not part.get_item(tag).is_implicit_VR):
                notes.append(f"{WARNING}the type of its attribute {tag} is unknown")
    meta = dataset.file_meta
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if dataset.get(name) != meta.get(f"MediaStorage{name}"):
            notes.append(f"{WARNING}its {name} and MediaStorage{name} differ")
    return notes


def is_cut_short(dataset: "Dataset") -> bool:
    """Return True if the value of an attribute is shorter than its length states: the file has ended, or a length is wrong."""
    items = (dataset.get_item(tag) for tag in list(dataset.keys()))
    return any(
        item.is_raw and item.value is not None and item.length != UNDEFINED and len(item.value) < item.length
        for item in items
    )


def check_geometry(dataset: "Dataset") -> None:
    """Raise `DicomDamageError` if the place or the size of the pixels is stated by another number of values, or by no numbers."""
    for keyword, count in COUNTS.items():
        value = dataset.get(keyword)
        if value is None or value == "":
            continue
        values = list(value) if isinstance(value, MutableSequence) else [value]
        try:
            is_right = len(values) == count and all(math.isfinite(float(number)) for number in values)
        except (TypeError, ValueError):
            is_right = False
        if not is_right:
            raise DicomDamageError(f"its {keyword} is not {format_count(count, 'number')}")


def _iterate_items(dataset: "Dataset") -> Iterator["Dataset"]:
    """Yield a data set, and all items of its sequences."""
    yield dataset
    for tag in list(dataset.keys()):
        if _get_type(dataset, tag) == "SQ":
            for item in dataset[tag].value:
                yield from _iterate_items(item)


def _get_type(dataset: "Dataset", tag: Any) -> str | None:
    value = dataset.get_item(tag).VR
    return None if value is None else str(value)


def _skip_items(file: BinaryIO, place: int, end: int) -> tuple[int, bool]:
    """Return the byte behind the fragments of compressed pixels, and whether the element that ends them is there."""
    while place + 8 <= end:
        file.seek(place)
        group, number, length = struct.unpack("<HHI", file.read(8))
        tag = group << 16 | number
        if tag == END_OF_ITEMS:
            return place + 8, True
        if tag != ITEM or place + 8 + length > end:
            raise DicomDamageError("its compressed pixels are broken")
        place += 8 + length
    return end, False


def _read_element(file: BinaryIO, place: int, order: str, is_implicit: bool) -> tuple[int, int] | None:
    """Return the tag of the element at a byte, and the byte behind it; None if there is none."""
    file.seek(place)
    head = file.read(12)
    if len(head) < 8:
        return None
    group, number = struct.unpack_from(f"{order}HH", head)
    if is_implicit or not head[4:6].isalpha():
        start, length = 8, struct.unpack_from(f"{order}I", head, 4)[0]
    elif head[4:6] in LONG_TYPES:
        if len(head) < 12:
            return None
        start, length = 12, struct.unpack_from(f"{order}I", head, 8)[0]
    else:
        start, length = 8, struct.unpack_from(f"{order}H", head, 6)[0]
    # An element without a length is not looked into: it is taken to last until the end of the file.
    following = file.seek(0, os.SEEK_END) if length == UNDEFINED else place + start + length
    return group << 16 | number, following


def _is_zero(file: BinaryIO, place: int) -> bool:
    file.seek(place)
    while block := file.read(CHUNK):
        if block.strip(b"\0"):
            return False
    return True
