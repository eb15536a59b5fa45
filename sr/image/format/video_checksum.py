"""Checksums of FFV1, which FFmpeg's decoder reports in its log only, and shows other pixels (RFC 9043, sections 4.9 and 4.3).

A frame consists of slices. Each one ends with its size, and if the stream has checksums with a status and a CRC-32 (polynomial
0x04C11DB7, most significant bit first, begun with 0), by which the CRC of the slice is 0.
"""

import zlib

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))  # zlib's CRC takes bits in the other order
_TRAILER = 8  # bytes: size 3, status 1, CRC 4
_START = 0xFFFFFFFF  # zlib begins with its complement, and ends with that


def has_valid_checksums(frame: bytes) -> bool:
    """Return True if all slices of a frame have checksums that fit."""
    end = len(frame)
    while end > 0:
        size = int.from_bytes(frame[end - _TRAILER : end - _TRAILER + 3], "big") + _TRAILER
        start = end - size
        if start < 0 or end < _TRAILER or zlib.crc32(frame[start:end].translate(_REVERSED), _START) != _START:
            return False
        end = start
    return len(frame) > 0
