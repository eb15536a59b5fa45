"""Find what a video file holds: all packets are read once, without decoding, and the first frame is decoded."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sr.image.damage import ADVICE, UnsupportedImageError
from sr.image.format.matroska import find_matroska_damage
from sr.image.format.video_checksum import has_valid_checksums
from sr.image.format.video_layout import VideoLayout, parse_layout, read_display_matrix
from sr.image.format.video_library import collect_warnings, finish_decoding, report_video_damage
from sr.image.format.video_times import check_times, fill_durations, find_gap
from sr.image.format.video_vp8 import find_vp8_damage
from sr.image.limits import check_decoded_size
from sr.image.yuv import MATRICES, YuvCoding
from sr.runtime.error import UserError

# Codecs of which each packet is one frame that is shown; of others all frames are decoded to count them.
ONE_TO_ONE = (
    "h264", "hevc", "vp9", "av1", "ffv1", "prores", "mjpeg", "png", "qtrle", "utvideo", "huffyuv", "ffvhuff", "dnxhd",
)  # fmt: skip
LOSSLESS = ("ffv1", "png", "qtrle", "utvideo", "huffyuv", "ffvhuff")
FULL_RANGE, UNKNOWN = 2, 2  # of AVColorRange, and of matrix, primaries and transfer
HD = (1280, 576)  # wider or higher videos are BT.709 if they do not say, as other programs assume
BT709, BT601 = 1, 6
SKIPPED_LIMIT = 300  # frames before the first one that can be decoded
SLACK = 0.25  # seconds, besides the longest frame, by which a file may end before the time that its header announces
REORDERED = 120  # seconds between the decoding and the showing of a frame, at the most: few frames
MAX_WARNINGS = 3  # of FFmpeg that are quoted
DECODED_BYTES = 16  # of a pixel, with the frames that a decoder refers to
LOST_DATA = {  # side data of frames that no result gets
    "A53_CC": "closed captions within the frames", "STEREO3D": "stereo 3D", "SPHERICAL": "projection of a 360° video",
    "ICC_PROFILE": "color profile", "DYNAMIC_HDR_PLUS": "HDR10+ data", "DOVI_METADATA": "Dolby Vision data",
    "DOVI_RPU_BUFFER": "Dolby Vision data", "DYNAMIC_HDR_VIVID": "HDR Vivid data", "S12M_TIMECODE": "time codes of frames",
    "GOP_TIMECODE": "time codes of frames", "AMBIENT_VIEWING_ENVIRONMENT": "ambient light",
}  # fmt: skip
DECODER_OPTIONS = {"err_detect": "crccheck+bitstream+buffer+explode"}


class VideoScan(NamedTuple):
    """A video stream, and the time stamps of its frames in the order in which they are shown."""

    path: Path
    index: int  # of the stream
    codec: str  # h264
    layout: VideoLayout
    coding: YuvCoding
    color: tuple[int, int, int, int]  # range, primaries, transfer and matrix, numbers of H.273; 2: not stated
    matrix: tuple[int, int, int, int]  # signs of the display matrix
    height: int  # of the stored frames
    width: int
    aspect: Fraction | None  # of a pixel, width to height; None: not stated
    time_base: Fraction  # seconds
    rate: Fraction  # frames a second, on average
    times: np.ndarray  # int64, in time_base
    durations: np.ndarray  # int64, in time_base: until the next frame; the last one as stated, or as the one before
    skipped: int  # frames at the beginning that cannot be decoded
    hdr: dict[str, bytes]  # MASTERING_DISPLAY_METADATA, CONTENT_LIGHT_LEVEL
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.times)


class _Packets(NamedTuple):
    times: np.ndarray
    durations: np.ndarray
    discarded: int  # the number of frames that an edit list leaves out


def scan_video(path: Path) -> VideoScan:
    """Return what a video file holds. Raise `UserError` if it is damaged, or not read."""
    state = path.stat()
    return _scan(path, state.st_size, state.st_mtime_ns)


def open_container(path: Path) -> Any:
    """Open a video file."""
    import av

    return av.open(str(path), metadata_errors="replace")


def find_stream(container: Any, path: Path) -> Any:
    """Return the first video stream that is no cover. Raise `UserError` if there is none."""
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams or streams[0].codec_context is None:
        found = "a video whose codec FFmpeg does not decode" if streams else "no video in it, but " + (
            ", ".join(dict.fromkeys(stream.type for stream in container.streams)) or "nothing")  # fmt: skip
        raise UnsupportedImageError(f"{path}: expected a video (found {found}); {ADVICE}")
    return streams[0]


def is_cover(stream: Any) -> bool:
    """Return True for the cover of an album, a still image that is stored as a video stream."""
    return "attached_pic" in str(stream.disposition)


def start_decoder(stream: Any) -> None:
    """Let the decoder use all threads, and raise errors. `finish_decoding` has to be called before the file is closed."""
    # With a thread for each frame, the decoder of VP8 hides errors.
    stream.thread_type = "SLICE" if stream.codec_context.name == "vp8" else "AUTO"
    stream.codec_context.options = DECODER_OPTIONS


@contextlib.contextmanager
def _open_decoder(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a video file to decode it: yield its container and its video stream. Raise `UserError` if it is damaged."""
    with report_video_damage(path), open_container(path) as container:
        stream = find_stream(container, path)
        start_decoder(stream)
        try:
            yield container, stream
        finally:
            finish_decoding(stream)


@lru_cache(maxsize=4)
def _scan(path: Path, size: int, changed: int) -> VideoScan:
    with report_video_damage(path), collect_warnings() as warnings, open_container(path) as container:
        stream = find_stream(container, path)
        if "matroska" in container.format.name and (reason := find_matroska_damage(path)):
            raise UserError(f"{path}: this video is damaged ({reason}); {ADVICE}")
        codec = stream.codec_context.codec.canonical_name
        packets = _read_packets(container, stream, path)
    if codec == "vp8":
        _check_vp8(path)
    with _open_decoder(path) as (container, stream):
        context = stream.codec_context
        check_decoded_size(path, context.height, context.width, DECODED_BYTES)
        frame, frame_time = _decode_first(container, stream, path)
        layout = parse_layout(frame.format.name)
        if layout is None:
            raise UnsupportedImageError(
                f"{path}: pixels of the layout {frame.format.name} are not read; convert it to yuv444p"
            )
        times, durations, skipped = packets.times, packets.durations, 0
        if codec not in ONE_TO_ONE:
            times, durations = _decode_times(container, stream, frame)
        elif frame_time in times[:SKIPPED_LIMIT]:
            skipped = int(np.searchsorted(times, frame_time))
        check_times(times, path)
        matrix = read_display_matrix(frame)
        if matrix is None:
            raise UnsupportedImageError(f"{path}: turned by no multiple of 90°; turn its pixels first")
        check_progressive(frame, path)
        coding, color, notes = _find_coding(stream.codec_context, layout, codec, path)
        span = float((times[-1] - times[0]) * stream.time_base)
        measured = (
            Fraction(len(times) - 1) / Fraction(span).limit_denominator(10**6) if len(times) > 1 and span else None
        )
        rate = Fraction(stream.average_rate or measured or 25)
        times, durations = times[skipped:], fill_durations(times[skipped:], durations[skipped:])
        notes += find_gap(times, stream.time_base)
        if packets.discarded:
            notes.append(f"{packets.discarded} frames are left out, as the edit list of the file says")
        notes += [f"it may be damaged; FFmpeg reports: {text}" for text in warnings[:MAX_WARNINGS]]
        lost = _list_lost(container, stream, frame)
        if skipped:
            notes.append(f"the first {skipped} frames cannot be decoded, for the video was cut before them: left out")
        return VideoScan(
            path, stream.index, codec, layout, coding, color, matrix, frame.height, frame.width,
            stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio, stream.time_base, rate,
            times, durations, skipped,
            {name: bytes(frame.side_data.get(name)) for name in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
             if frame.side_data.get(name) is not None},
            tuple(lost), tuple(notes),
        )  # fmt: skip


def _check_vp8(path: Path) -> None:
    with _open_decoder(path) as (container, stream):
        if reason := find_vp8_damage(container, stream):
            raise UserError(f"{path}: this video is damaged ({reason}); {ADVICE}")


def check_progressive(frame: Any, path: Path) -> None:
    """Raise `UserError` if a frame holds two fields of different times."""
    if frame.interlaced_frame:
        raise UnsupportedImageError(
            f"{path}: interlaced video is not upscaled; make frames of its fields first: "
            "ffmpeg -i IN -vf bwdif -c:v ffv1 -c:a copy OUT.mkv"
        )


def _read_packets(container: Any, stream: Any, path: Path) -> _Packets:
    """Return time stamps and durations of the frames that packets announce, sorted; check that the file is complete."""
    entries: list[tuple[int, int]] = []
    count, discarded, end, checksums = 0, 0, 0.0, set()
    has_checksums = stream.codec_context.name == "ffv1"
    for packet in container.demux():
        if packet.size == 0 and packet.dts is None:  # the end of a stream
            continue
        _check_packet(packet, path)
        start = packet.pts if packet.pts is not None else packet.dts
        if start is not None:
            end = max(end, float((start + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        count += 1
        if has_checksums:
            checksums.add(has_valid_checksums(bytes(packet)))
        if packet.pts is None:
            raise UnsupportedImageError(
                f"{path}: frames without time stamps; write it again: ffmpeg -i IN -c copy OUT.mkv"
            )
        discarded += packet.is_discard
        if not packet.is_discard:
            entries.append((packet.pts, packet.duration or 0))
    if len(checksums) > 1:  # a stream has them or not
        raise UserError(f"{path}: this video is damaged (a checksum of FFV1 is wrong); {ADVICE}")
    if not entries:
        raise UserError(f"{path}: this video is damaged (it has no frames); {ADVICE}")
    times, durations = np.array(sorted(entries), np.int64).T
    announced = container.duration / 1e6 if container.duration else 0.0
    longest = float(np.diff(times).max(initial=0) * stream.time_base)
    if end < (container.start_time or 0) / 1e6 + announced - SLACK - longest:
        raise UserError(f"{path}: this video is damaged (it ends at {end:.1f} s of {announced:.1f} s); {ADVICE}")
    if count < stream.frames:
        raise UserError(f"{path}: this video is damaged ({count} of {stream.frames} frames are there); {ADVICE}")
    return _Packets(times, durations, discarded)


def _check_packet(packet: Any, path: Path) -> None:
    """Raise `UserError` if a part of a packet is missing, or its time stamps contradict each other."""
    if packet.is_corrupt:
        raise UserError(f"{path}: this video is damaged (a part of a stream is missing); {ADVICE}")
    if None not in (packet.pts, packet.dts) and abs(packet.pts - packet.dts) * packet.time_base > REORDERED:
        raise UserError(f"{path}: this video is damaged (the time stamp of a frame is wrong); {ADVICE}")


def _decode_first(container: Any, stream: Any, path: Path) -> tuple[Any, int]:
    for frame in container.decode(stream):
        if frame.pts is None:
            raise UnsupportedImageError(
                f"{path}: frames without time stamps; write it again: ffmpeg -i IN -c copy OUT.mkv"
            )
        return frame, frame.pts
    raise UserError(f"{path}: this video is damaged (no frame can be decoded); {ADVICE}")


def _decode_times(container: Any, stream: Any, first: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return time stamps and durations of all frames, which are decoded for that."""
    entries = [(first.pts, first.duration or 0)]
    entries += [(frame.pts, frame.duration or 0) for frame in container.decode(stream) if frame.pts is not None]
    times, durations = np.array(entries, np.int64).T
    return times, durations


def _find_coding(
    context: Any, layout: VideoLayout, codec: str, path: Path
) -> tuple[YuvCoding, tuple[int, int, int, int], list[str]]:
    """Return how colors are coded, what the file says of it, and notes about what is assumed."""
    color = tuple(
        int(value) for value in (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
    )
    is_full = (
        color[0] == FULL_RANGE
        or context.pix_fmt.startswith("yuvj")
        or (layout.kind == "gray" and codec in LOSSLESS and not color[0])
    )
    matrix, notes = color[3], []
    if layout.kind == "yuv" and matrix == UNKNOWN:
        matrix = guess_matrix(context.height, context.width)
    elif layout.kind == "yuv" and matrix not in MATRICES:
        raise UnsupportedImageError(f"{path}: colors of matrix {matrix} (H.273) are not read; convert it to BT.709")
    is_centered = (True, is_full and codec == "mjpeg")
    if color[2] in (16, 18):
        notes.append(
            f"HDR ({'PQ' if color[2] == 16 else 'HLG'}): the network sees the coded values, as it sees those of sRGB"
        )
    return (
        YuvCoding(matrix if matrix in MATRICES else BT709, is_full, layout.bits, layout.subsampling, is_centered),
        color,
        notes,
    )


def guess_matrix(height: int, width: int) -> int:
    """Return the matrix that other programs assume for a video of this size that does not state one."""
    return BT709 if width >= HD[0] or height > HD[1] else BT601


def _list_lost(container: Any, stream: Any, frame: Any) -> list[str]:
    """Return the names of what no result gets."""
    lost = list(dict.fromkeys(text for name, text in LOST_DATA.items() if frame.side_data.get(name) is not None))
    if stream.metadata.get("alpha_mode") == "1" and not frame.format.name.startswith("yuva"):  # of VP8 and VP9
        lost.append("alpha")
    more = [other for other in container.streams.video if other.index != stream.index and not is_cover(other)]
    return lost + ["further video streams"] * bool(more)
