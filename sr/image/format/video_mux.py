"""Join encoded frames with the audio, subtitles, chapters and texts of their source, which are copied."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sr.image.format.video_encoder import Encoding
from sr.image.format.video_packets import PacketFile
from sr.image.format.video_scan import VideoScan, is_cover, open_container
from sr.runtime.error import UserError

# Texts that describe the file which was read, and those that a muxer writes by itself.
OWN_TEXTS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "number_of_frames",
             "number_of_bytes", "bps", "_statistics_tags", "_statistics_writing_app", "_statistics_writing_date_utc")  # fmt: skip
MP4_FAMILY = ("mp4", "mov")
MAX_TIMESCALE = 2**31


def join_streams(
    library: Any, path: Path, muxer: str, source: VideoScan, encoding: Encoding, packets: PacketFile
) -> tuple[str, ...]:
    """Write the file, and return notes about what the container does not hold."""
    options = {}
    if muxer in MP4_FAMILY:
        options = {"movflags": "use_metadata_tags+faststart"}
        if source.time_base.numerator == 1:
            options["video_track_timescale"] = str(source.time_base.denominator)
        options |= _choose_timescale(source)
    with open_container(source.path) as original, library.open(str(path), "w", format=muxer, options=options) as result:
        video, copied, lost = _add_streams(library, original, result, source, encoding)
        result.metadata.update(_select_texts(original.metadata))
        if chapters := original.chapters():
            result.set_chapters(chapters)
        result.start_encoding()
        others = _iterate_packets(original, copied)
        waiting = next(others, None)
        for packet in _iterate_video(library, video, source, packets):
            while waiting is not None and waiting[0] <= packet.dts * packet.time_base:
                result.mux_one(waiting[1])
                waiting = next(others, None)
            result.mux_one(packet)
        while waiting is not None:
            result.mux_one(waiting[1])
            waiting = next(others, None)
        unit = video.time_base
    notes = [f"not in the result: {', '.join(lost)}, which {muxer} does not hold"] * bool(lost)
    if unit != source.time_base and not _divides(unit, source):
        notes.append(f"{muxer} rounds time stamps to {float(1000 * unit):g} ms")
    return tuple(notes)


def _add_streams(
    library: Any, original: Any, result: Any, source: VideoScan, encoding: Encoding
) -> tuple[Any, dict[int, Any], list[str]]:
    """Add all streams to the result: return the video, those that are copied by their old number, and what is lost."""
    video, copied, lost = None, {}, []
    for stream in original.streams:
        if stream.index == source.index:
            video = _add_video(library, result, stream, source, encoding)
        elif stream.type == "video" and not is_cover(stream):  # named already
            continue
        elif (added := _copy_stream(library, result, stream)) is not None:
            if stream.type != "attachment":
                copied[stream.index] = added
        elif stream.type != "data" or not original.chapters():  # which are written again
            lost.append(_describe_stream(stream))
    return video, copied, lost


def _add_video(library: Any, result: Any, original: Any, source: VideoScan, encoding: Encoding) -> Any:
    stream = result.add_stream(encoding.codec.encoder, rate=encoding.rate)
    encoding.configure(stream.codec_context, library)
    stream.time_base = source.time_base
    stream.metadata.update(_select_texts(original.metadata))
    stream.disposition = original.disposition
    return stream


def _copy_stream(library: Any, result: Any, stream: Any) -> Any:
    """Add a stream of the source to the result; return None if the container does not hold it."""
    try:
        if stream.type == "attachment":
            return result.add_attachment(stream.name, stream.mimetype, stream.data)
        context = stream.codec_context
        if context is None or context.name not in result.supported_codecs:
            return None
        added = result.add_stream_from_template(stream, opaque=True)
        added.time_base = stream.time_base
        added.metadata.update(_select_texts(stream.metadata))
        added.disposition = stream.disposition
    except (library.error.FFmpegError, ValueError, AttributeError, TypeError):
        return None
    return added


def _describe_stream(stream: Any) -> str:
    codec = stream.codec_context.name if stream.codec_context else ""
    return " ".join(filter(None, (stream.type, f"({codec})" if codec else "")))


def _select_texts(texts: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in texts.items() if key.lower().partition("-")[0] not in OWN_TEXTS}


def _iterate_packets(original: Any, copied: dict[int, Any]) -> Iterator[tuple[Fraction, Any]]:
    """Yield the packets of the streams that are copied, with their time in seconds, as they come in the file."""
    if not copied:
        return
    chosen = [stream for stream in original.streams if stream.index in copied]
    ends = {s.index: s.duration + (s.start_time or 0) for s in chosen if s.duration and s.frames and s.type == "audio"}
    for packet in original.demux(chosen):
        if packet.dts is None and packet.pts is None:
            continue
        time = (packet.pts if packet.dts is None else packet.dts) * packet.time_base
        end = ends.get(packet.stream_index)
        if end is not None and packet.pts is not None and packet.pts < end < packet.pts + packet.duration:
            packet.duration = end - packet.pts  # an edit list ends within the packet
        packet.stream = copied[packet.stream_index]
        yield time, packet


def _iterate_video(library: Any, stream: Any, source: VideoScan, packets: PacketFile) -> Iterator[Any]:
    """Yield the encoded frames as packets with the source's time stamps and durations."""
    stored, times = packets.packets, source.times
    numbers = np.array([packet.frame for packet in stored])
    if sorted(numbers.tolist()) != list(range(source.frames)):
        raise UserError(f"{source.path}: the encoder has left frames out; choose another codec=")
    delay = int((np.arange(len(numbers)) - numbers).max())  # frames by which decoding runs ahead of showing
    step = int(np.median(np.diff(times))) if len(times) > 1 else 1
    for position, packet in enumerate(stored):
        one = library.Packet(packets.read(packet))
        one.stream, one.time_base = stream, source.time_base
        one.pts = int(times[packet.frame])
        before = position - delay
        one.dts = int(times[before]) if before >= 0 else int(times[0]) + before * max(1, step)
        one.duration = int(source.durations[packet.frame])
        if position + 1 == len(stored):  # from it MP4 has the end of the video
            one.duration = int(times[-1] + source.durations[-1]) - one.dts - delay * max(1, step)
        one.is_keyframe = packet.is_key
        yield one


def _choose_timescale(source: VideoScan) -> dict[str, str]:
    """Return the option of a unit in which the starts of all streams are whole numbers, if milliseconds are not enough."""
    with open_container(source.path) as container:
        streams = [stream for stream in container.streams if stream.time_base]
        starts = [(stream.start_time or 0) * stream.time_base for stream in streams]
        common = math.lcm(*(start.denominator for start in starts))
    is_needed = any(start > 0 and (1000 * start).denominator > 1 for start in starts)
    return {"movie_timescale": str(common)} if is_needed and common < MAX_TIMESCALE else {}


def _divides(unit: Fraction, source: VideoScan) -> bool:
    """Return True if all time stamps are multiples of a unit."""
    factor = source.time_base / unit
    return factor.denominator == 1 or not bool((source.times % factor.denominator).any())
