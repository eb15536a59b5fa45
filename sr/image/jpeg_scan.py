"""Read the segments of a JPEG stream, and check its Huffman codes (ITU-T T.81, annexes B and F).

Libjpeg goes on after a code that does not exist and after the end of the data, and its callers do not pass its warnings on.
Damage that leads to other codes of the same length is not found: JPEG has no checksum.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SEQUENTIAL = (0xC0, 0xC1)  # frames whose scans are checked: baseline and extended, not progressive or lossless
HUFFMAN, RESTART_INTERVAL, SCAN, END = 0xC4, 0xDD, 0xDA, 0xD9
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {HUFFMAN, 0xC8, 0xCC}  # 0xF7: of JPEG-LS
NO_LENGTH = (0x01, *range(0xD0, 0xD9))  # markers without a segment
_MARKER = re.compile(rb"\xff+[^\x00\xff]")  # within the data of a scan, where 255 is followed by 0
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_END_OF_BLOCK = 1000  # coefficients, more than a block has
_CHUNK = 32  # bytes that are taken at a time
_SLACK = 1  # bytes that may follow the last code


class _Component(NamedTuple):
    across: int  # sampling factors
    down: int


class JpegDamageError(ValueError):
    """The stream is damaged."""


def iterate_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each marker of a JPEG stream with the content of its segment, and of a scan the data that follow it.

    It ends with the stream, or where another byte stands in the place of a marker.
    """
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in NO_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == END:
            return
        stop = start = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == SCAN:
            end = _MARKER.search(data, start)
            while end and _RESTART.match(data, end.start()):
                end = _MARKER.search(data, end.end())
            stop = end.start() if end else len(data)
        yield marker, data[place + 4 : start], data[start:stop]
        place = stop


def find_frame_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of a stream of JPEG or JPEG-LS; None if it does not state them."""
    for marker, segment, _ in iterate_segments(data):
        if marker in FRAMES and len(segment) >= 5:
            return _read_size(segment)
    return None


def _read_size(segment: bytes) -> tuple[int, int]:
    return int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")


def check_jpeg_scans(data: bytes, tables: bytes | None = None) -> None:
    """Raise `JpegDamageError` if a sequential JPEG stream has a Huffman code that does not exist, or too few or too many of them.

    `tables` is an abbreviated stream with its tables, as TIFF has it. Of other streams nothing is checked. About 1 s per MB.
    """
    if tables:
        data = data[:2] + tables[2:-2] + data[2:]
    interval = 0
    huffman: dict[int, list[int]] = {}
    components: dict[int, _Component] = {}
    size = 0, 0
    for marker, segment, scan in iterate_segments(data):
        if marker == HUFFMAN:
            huffman |= _read_tables(segment)
        elif marker == RESTART_INTERVAL:
            interval = int.from_bytes(segment[:2], "big")
        elif marker in FRAMES:
            if marker not in SEQUENTIAL:
                return
            size = _read_size(segment)
            components = {
                segment[k]: _Component(segment[k + 1] >> 4, segment[k + 1] & 15) for k in range(6, len(segment) - 2, 3)
            }
        elif marker == SCAN:
            _check_scan(scan, segment, size, components, huffman, interval)


def _check_scan(
    data: bytes,
    header: bytes,
    size: tuple[int, int],
    components: dict[int, _Component],
    huffman: dict[int, list[int]],
    interval: int,
) -> None:
    try:
        chosen = [(components[header[k]], header[k + 1]) for k in range(1, 2 * header[0] + 1, 2)]
        blocks = [
            (huffman[tables >> 4], huffman[16 | (tables & 15)])
            for part, tables in chosen
            for _ in range(part.across * part.down if len(chosen) > 1 else 1)
        ]
    except (KeyError, IndexError):
        raise JpegDamageError("a scan of its compressed pixels has no tables") from None
    most = max(part.across for part in components.values()), max(part.down for part in components.values())
    sides = [8 * side for side in most]
    if len(chosen) == 1:
        sides = [8 * whole / own for whole, own in zip(most, chosen[0][0], strict=True)]
    left = math.ceil(size[1] / sides[0]) * math.ceil(size[0] / sides[1])
    for part in _RESTART.split(data):
        count = min(left, interval or left)
        _check_codes(part.replace(b"\xff\x00", b"\xff"), blocks, count)
        left -= count
    if left:
        raise JpegDamageError("its compressed pixels end early")


def _check_codes(data: bytes, blocks: list[tuple[list[int], list[int]]], count: int) -> None:
    """Read the codes of `count` units of blocks, each of a table of DC and one of AC."""
    bits, free, place = 0, 0, 0  # the bits that are taken, the number of those that are not read yet
    for _ in range(count):
        for dc, ac in blocks:
            k, table = 0, dc
            while k < 64:
                if free < 64:
                    chunk = data[place : place + _CHUNK].ljust(_CHUNK, b"\xff")
                    bits = (bits & ((1 << free) - 1)) << 8 * _CHUNK | int.from_bytes(chunk, "big")
                    free, place = free + 8 * _CHUNK, place + _CHUNK
                code = table[bits >> (free - 16) & 0xFFFF]
                if not code:
                    raise JpegDamageError("its compressed pixels have a code that does not exist")
                free -= code >> 16
                k += code & 0xFFFF
                table = ac
            if 64 < k < _END_OF_BLOCK:
                raise JpegDamageError("its compressed pixels have a block that is too long")
    unread = len(data) - place + free / 8  # bytes; the last code is followed by ones
    if unread < 0:
        raise JpegDamageError("its compressed pixels end early")
    if unread >= _SLACK + 1:
        raise JpegDamageError(f"its compressed pixels are followed by {int(unread)} bytes")


def _read_tables(segment: bytes) -> dict[int, list[int]]:
    """Return tables by class (16: AC) and number: of the next 16 bits, how many belong to the code, and the coefficients."""
    tables, place = {}, 0
    while place + 17 <= len(segment):
        number, counts = segment[place], segment[place + 1 : place + 17]
        place += 17
        table, start = np.zeros(1 << 16, np.int64), 0
        for length, codes in enumerate(counts, 1):
            for symbol in segment[place : place + codes]:
                stop = start + (1 << (16 - length))
                table[start:stop] = (length + (symbol & 15 if number >> 4 else symbol)) << 16 | _advance(number, symbol)
                start = stop
            place += codes
        tables[number] = table.tolist()
    return tables


def _advance(number: int, symbol: int) -> int:
    """Return the number of coefficients that a symbol stands for."""
    if number >> 4 == 0:
        return 1
    if symbol & 15 == 0 and symbol != 0xF0:
        return _END_OF_BLOCK
    return (symbol >> 4) + 1
