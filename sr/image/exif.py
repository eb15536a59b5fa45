"""Edit EXIF and XMP in place: the orientation is reset, the thumbnail dropped, the size updated; all else stays as it is.

Nothing is moved, because maker notes hold offsets from the start of the EXIF block that only the camera's maker knows.
The layout is that of TIFF 6.0, section 2; the tags are those of EXIF 2.32, sections 4.6.4 to 4.6.6.
"""

import re
import struct
from collections.abc import Iterator

PREFIX = b"Exif\0\0"  # of the block in a JPEG file; other formats have it without
ORIENTATION, EXIF_IFD, THUMBNAIL, THUMBNAIL_BYTES = 0x0112, 0x8769, 0x0201, 0x0202
WIDTHS, HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)  # ImageWidth, PixelXDimension; ImageLength, PixelYDimension
SHORT, LONG = 3, 4  # types of integers
MAX_ENTRIES = 1000  # of a directory; more are damage
XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>\s*))[1-8]""")
XMP_WIDTH = re.compile(rb"""((?:tiff:ImageWidth|exif:PixelXDimension)(?:\s*=\s*["']|\s*>\s*))\d+""")
XMP_HEIGHT = re.compile(rb"""((?:tiff:ImageLength|exif:PixelYDimension)(?:\s*=\s*["']|\s*>\s*))\d+""")


def clean_exif(exif: bytes) -> bytes:
    """Return EXIF with orientation 1 and without its thumbnail, not prefixed by `Exif`.

    Raises `ValueError` or `struct.error` if it is damaged.
    """
    data = bytearray(exif.removeprefix(PREFIX))
    block = _Block(data)
    _, link = block.list_entries(block.first)
    for tag, place in block.list_integers(block.first):
        if tag == ORIENTATION:
            block.write_integer(place, 1)
    block.drop_thumbnail(link)
    resize_exif(bytes(data), 1, 1)  # raises now rather than in the writer
    return bytes(data)


def resize_exif(exif: bytes | None, height: int, width: int) -> bytes | None:
    """Return EXIF of `clean_exif` with the size of the result, where it states a size."""
    if not exif:
        return None
    data = bytearray(exif.removeprefix(PREFIX))
    block = _Block(data)
    inner = [block.read_integer(place) for tag, place in block.list_integers(block.first) if tag == EXIF_IFD]
    for start in (block.first, *inner):
        for tag, place in block.list_integers(start):
            if tag in WIDTHS or tag in HEIGHTS:
                block.write_integer(place, width if tag in WIDTHS else height)
    return bytes(data)


def clean_xmp(xmp: bytes) -> bytes:
    """Return XMP with orientation 1."""
    return XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def resize_xmp(xmp: bytes | None, height: int, width: int) -> bytes | None:
    """Return XMP with the size of the result, where it states a size."""
    if not xmp:
        return None
    return XMP_HEIGHT.sub(b"\\g<1>%d" % height, XMP_WIDTH.sub(b"\\g<1>%d" % width, xmp))


class _Block:
    """A TIFF structure that is edited in place. Raises `ValueError` or `struct.error` if it is damaged."""

    def __init__(self, data: bytearray) -> None:
        if data[:2] not in (b"II", b"MM"):
            raise ValueError("no TIFF structure")
        self.data, self.order = data, "<" if data[:2] == b"II" else ">"
        (self.first,) = struct.unpack_from(f"{self.order}I", data, 4)

    def list_entries(self, start: int) -> tuple[list[int], int]:
        """Return the offsets of the entries of a directory, and of the link to the next directory."""
        (count,) = struct.unpack_from(f"{self.order}H", self.data, start)
        if count > MAX_ENTRIES:
            raise ValueError("too many entries")
        return [start + 2 + 12 * k for k in range(count)], start + 2 + 12 * count

    def list_integers(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield tag and offset of each entry that is a single integer."""
        for place in self.list_entries(start)[0]:
            tag, kind, count = struct.unpack_from(f"{self.order}HHI", self.data, place)
            if kind in (SHORT, LONG) and count == 1:
                yield tag, place

    def read_integer(self, place: int) -> int:
        (kind,) = struct.unpack_from(f"{self.order}H", self.data, place + 2)
        return struct.unpack_from(f"{self.order}{'H' if kind == SHORT else 'I'}", self.data, place + 8)[0]

    def write_integer(self, place: int, value: int) -> None:
        """Store a value; one that needs 4 bytes is stored as LONG, which EXIF allows for every size."""
        (kind,) = struct.unpack_from(f"{self.order}H", self.data, place + 2)
        if kind == SHORT and value < 1 << 16:
            struct.pack_into(f"{self.order}HH", self.data, place + 8, value, 0)
        else:
            struct.pack_into(f"{self.order}H", self.data, place + 2, LONG)
            struct.pack_into(f"{self.order}I", self.data, place + 8, value)

    def drop_thumbnail(self, link: int) -> None:
        """Cut the link to the second directory, and the thumbnail at the end of the block."""
        if link + 4 > len(self.data):  # some programs leave the link out
            return
        (second,) = struct.unpack_from(f"{self.order}I", self.data, link)
        struct.pack_into(f"{self.order}I", self.data, link, 0)
        if not second:
            return
        found = {tag: self.read_integer(place) for tag, place in self.list_integers(second)}
        start, size = found.get(THUMBNAIL, 0), found.get(THUMBNAIL_BYTES, 0)
        if start > link and len(self.data) - 1 <= start + size <= len(self.data):
            del self.data[start:]
