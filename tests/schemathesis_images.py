"""Image files for schemathesis, which tests a service against its description: no JSON schema says what a PNG file is.

pip install schemathesis   # in an environment of its own
python -m sr.serve port=8000 &
SCHEMATHESIS_HOOKS=tests/schemathesis_images.py schemathesis run http://127.0.0.1:8000/openapi.json
"""

import struct
import zlib

import schemathesis
from hypothesis import strategies

KINDS = ("png", "jpeg", "webp", "tiff", "bmp", "gif")  # the service goes by the content, whatever its type is called


def make_png(width: int, height: int, level: int) -> bytes:
    """Return a gray PNG of one level."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = height * (b"\0" + bytes([level]) * width)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


sides = strategies.integers(1, 40)
images = strategies.builds(make_png, sides, sides, strategies.integers(0, 255))
for media_type in ("application/octet-stream", *(f"image/{kind}" for kind in KINDS)):
    schemathesis.openapi.media_type(media_type, images)
