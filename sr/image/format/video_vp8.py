"""Check VP8 by its reference decoder, libvpx: FFmpeg's own makes frames of damaged data, without an error."""

from typing import Any

import numpy as np


def find_vp8_damage(container: Any, stream: Any) -> str:
    """Return what is wrong with the frames of a stream that is read from its beginning, or an empty text."""
    import av

    try:
        reference = av.CodecContext.create("libvpx", "r")
    except av.codec.codec.UnknownCodecError:  # this build of FFmpeg has no libvpx
        return ""
    for packet in container.demux(stream):
        if not packet.size:
            continue
        try:
            frames, expected = ([frame.to_ndarray() for frame in one.decode(packet)] for one in (stream, reference))
            is_right = len(frames) == len(expected) and all(map(np.array_equal, frames, expected))
        except av.error.FFmpegError:
            is_right = False
        if not is_right:
            return f"its frame at {float(packet.pts * packet.time_base):.2f} s cannot be decoded"
    return ""
