"""Check the structure and the checksums of MKV and WebM, which FFmpeg's demuxer passes over (RFC 8794, RFC 9559).

FFmpeg looks for the next cluster that it can read after a damaged one, and returns the frames of a cut file: frames are
missing, and no error says so. Here the elements have to fill the file to its end. FFmpeg's muxer also gives each element of
the first level a CRC-32, little-endian, of what follows it in the element.
"""

import os
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_CRC = b"\xbf\x84"  # the ID of CRC-32, and its size, 4
_CHUNK = 1 << 20  # bytes


class _Element(NamedTuple):
    id: int
    start: int  # of its content
    end: int | None  # None: its size is unknown, as that of a live recording


def find_matroska_damage(path: Path) -> str:
    """Return what is wrong with a file, or an empty text, also if it is no Matroska or of unknown size: a recording."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        head = _read_element(file, 0)
        segment = _read_element(file, head.end) if head and head.id == _EBML and head.end else None
        if segment is None or segment.id != _SEGMENT or segment.end is None:
            return ""
        if segment.end > size:
            return f"it ends after {size} of {segment.end} bytes"
        place = segment.start
        while place < segment.end:
            element = _read_element(file, place)
            if element is not None and element.end is None:
                return ""
            if element is None or element.end > segment.end or not _is_filled(file, element):
                return f"its structure is broken near byte {place}"
            if not _has_valid_checksum(file, element):
                return f"the checksum near byte {place} is wrong"
            place = element.end
    return ""


def _is_filled(file: BinaryIO, element: _Element) -> bool:
    """Return True if the elements in a cluster end where it ends; of others, always."""
    place = element.start
    while element.id == _CLUSTER and place < element.end:
        inner = _read_element(file, place)
        if inner is None or inner.end is None or inner.end > element.end:
            return False
        place = inner.end
    return True


def _has_valid_checksum(file: BinaryIO, element: _Element) -> bool:
    """Return True if an element has no checksum, or the right one."""
    file.seek(element.start)
    start = file.read(6)
    if element.end - element.start < 6 or not start.startswith(_CRC):
        return True
    left, checksum = element.end - element.start - 6, 0
    while left > 0 and (data := file.read(min(left, _CHUNK))):
        checksum, left = zlib.crc32(data, checksum), left - len(data)
    return checksum == int.from_bytes(start[2:], "little")


def _read_element(file: BinaryIO, place: int) -> _Element | None:
    """Return the element that begins at a byte; None if there is none."""
    file.seek(place)
    data = file.read(12)  # the longest ID and the longest size
    if not data or not data[0]:
        return None
    id_length = 9 - data[0].bit_length()  # zeros before the first one, and it
    rest = data[id_length:]
    if id_length > 4 or not rest or not rest[0]:
        return None
    length = 9 - rest[0].bit_length()
    if len(rest) < length:
        return None
    mask = (1 << 7 * length) - 1  # without the bit that states the length
    size, start = int.from_bytes(rest[:length], "big") & mask, place + id_length + length
    return _Element(int.from_bytes(data[:id_length], "big"), start, None if size == mask else start + size)
