"""Check VP8 by its reference decoder, libvpx: FFmpeg's own makes frames of damaged data, and other ones."""

from typing import Any

import numpy as np


def find_vp8_damage(container: Any, stream: Any) -> str:
    """Return what is wrong with the frames of a stream that is read from its beginning, or an empty text."""
    import av

    try:
        reference = av.CodecContext.create("libvpx", "r")
    except av.error.FFmpegError:  # this build of FFmpeg has none
        return ""
    for packet in container.demux(stream):
        if not packet.size:
            continue
        try:
            frames, expected = stream.decode(packet), reference.decode(packet)
        except av.error.FFmpegError:
            frames, expected = [], [None]
        if len(frames) != len(expected) or not all(map(_is_same, frames, expected)):
            return f"its frame at {float(packet.pts * packet.time_base):.2f} s cannot be decoded"
    return ""


def _is_same(one: Any, other: Any) -> bool:
    return other is not None and np.array_equal(one.to_ndarray(), other.to_ndarray())
