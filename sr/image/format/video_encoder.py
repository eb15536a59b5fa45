"""Encoders of video: which one a result gets, with which options and layout of pixels."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from sr.image.format.video_hdr import describe_hdr
from sr.image.format.video_layout import VideoLayout, parse_layout
from sr.image.format.video_scan import BT601, BT709, LOSSLESS, UNKNOWN, VideoScan, guess_matrix
from sr.image.yuv import YuvCoding
from sr.runtime.error import UserError, suggest_nearest


class Codec(NamedTuple):
    """An encoder of FFmpeg, and how it is used."""

    encoder: str
    crf: int | None  # the default: 0 is best; None: it has no such option
    max_crf: int = 51
    options: dict[str, str] = {}  # noqa: RUF012  never changed in place
    needs_even: bool = True  # sides of frames whose chroma is subsampled
    min_size: tuple[int, int] = (1, 1)  # height and width of frames
    has_alpha: bool = False  # others have it in further packets or layers, which are not written


CODECS = {
    # Without mbtree, which makes another file each time (x264 164), and has 40 frames in memory.
    "h264": Codec("libx264", 17, options={"preset": "medium", "mbtree": "0"}),
    # x265 4 writes past its memory in narrower frames, and refuses lower ones.
    "hevc": Codec("libx265", 18, options={"preset": "medium"}, min_size=(16, 64)),
    "vp9": Codec(
        "libvpx-vp9", 18, 63, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}, needs_even=False
    ),
    # SVT-AV1 4 writes past its memory in frames of less than about 700 pixels.
    "av1": Codec("libsvtav1", 20, 63, {"preset": "8"}, min_size=(32, 32)),
    "ffv1": Codec("ffv1", None, 0, {"level": "3", "slicecrc": "1", "slices": "4"}, needs_even=False, has_alpha=True),
    "prores": Codec("prores_ks", None, 0, has_alpha=True),
}
SUCCESSORS = {"vp8": "vp9", **dict.fromkeys(LOSSLESS, "ffv1")}  # codecs of sources -> those of their results
FALLBACKS = ("h264", "vp9")  # the first one that a container holds
RGB = 0  # as matrix
SEGMENT = 60  # frames that one encoder makes: what a stopped process has to compute again


class Encoding(NamedTuple):
    """Everything that an encoder is opened with."""

    name: str  # of the codec
    codec: Codec
    layout: VideoLayout
    stored: str  # FFmpeg's name of the layout that the encoder takes, into which the planes of `layout` are packed
    coding: YuvCoding
    options: dict[str, str]
    height: int
    width: int
    color: tuple[int, int, int, int]  # as in `VideoScan`
    aspect: Fraction | None
    rate: Fraction
    notes: tuple[str, ...]

    def open(self, library: Any) -> Any:
        """Return an opened encoder, whose time is the number of the frame."""
        context = library.CodecContext.create(self.codec.encoder, "w")
        self.configure(context, library)
        context.open()
        return context

    def configure(self, context: Any, library: Any) -> None:
        """Set all options of an encoder that is not open yet."""
        context.width, context.height, context.pix_fmt = self.width, self.height, self.stored
        context.time_base, context.framerate = 1 / self.rate, self.rate
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = self.color
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        context.gop_size = SEGMENT
        context.options = dict(self.options)
        context.flags |= library.codec.context.Flags.global_header


def choose_encoding(
    library: Any,
    source: VideoScan,
    held: Sequence[str],
    container: str,
    size: tuple[int, int],
    is_gray: bool,
    codec: str | None,
    crf: int | None,
) -> Encoding:
    """Return how a result is encoded.

    Args:
        library: PyAV.
        source: the video that is upscaled.
        held: the names of all codecs that the container holds.
        container: its name, as `format=` takes it.
        size: height and width of the result.
        is_gray: its frames have one channel.
        codec: the option; None: as the source, if there is an encoder of that.
        crf: the option; None: the codec's default.

    Raises:
        UserError: the container does not hold the codec, it has no such quality, or its frames have even sides only.
    """
    name, notes = _choose_codec(source, held, container, codec)
    chosen = CODECS[name]
    options = dict(chosen.options)
    if crf is not None and (chosen.crf is None or crf > chosen.max_crf):
        most, found = (chosen.max_crf, name) if chosen.crf is not None else (63, f"{name}, which has no such option")
        raise UserError(f"crf={crf}: expected 0…{most} (found {found}); choose another number, or codec=")
    if chosen.crf is not None:
        options["crf"] = str(chosen.crf if crf is None else crf)
    stored = _choose_layout(library, chosen, source.layout, is_gray)
    layout = parse_layout(stored)
    if name == "prores":
        options["profile"] = "4444" if layout.subsampling == (1, 1) else "hq"
    if layout.bits < source.layout.bits:
        notes.append(f"{name} is written with {layout.bits} bits, not {source.layout.bits}")
    if source.layout.has_alpha and not layout.has_alpha:
        notes.append(f"not in the result: alpha, which {name} does not hold; codec=ffv1 format=mkv does")
    _check_sides(source, name, layout, size)
    coding, color, note = _choose_color(source, layout, size)
    notes += [note] * bool(note)
    hdr, lost = describe_hdr(source.hdr, name)
    if name == "hevc":
        options["x265-params"] = ":".join(["log-level=none", *hdr])
    elif hdr:
        options["svtav1-params"] = ":".join(hdr)
    notes += [f"not in the result: {', '.join(lost)}, which {name} does not get here"] * bool(lost)
    return Encoding(
        name, chosen, layout, stored, coding, options, *size, color, source.aspect,
        source.rate.limit_denominator(60000), tuple(notes),
    )  # fmt: skip


def _choose_codec(source: VideoScan, held: Sequence[str], container: str, codec: str | None) -> tuple[str, list[str]]:
    if codec is None:
        own = SUCCESSORS.get(source.codec, source.codec)
        candidates = [own, *FALLBACKS]
        name = next((name for name in candidates if name in CODECS and name in held), None)
        if name is None:
            raise UserError(f"format={container}: expected a container of {', '.join(CODECS)}; choose format=mkv")
        return name, [f"{source.codec} is not written: the result is {name}"] * (name != source.codec)
    word = codec.lower()
    names = {alias: name for name, one in CODECS.items() for alias in (name, one.encoder)}
    names |= {"h265": "hevc", "x264": "h264", "x265": "hevc"}
    if word not in names:
        raise UserError(f"codec={codec}: expected {', '.join(CODECS)}.{suggest_nearest(word, names)}")
    if names[word] not in held:
        others = ", ".join(name for name in CODECS if name in held)
        raise UserError(f"codec={codec}: {container} does not hold it; choose codec={others}, or format=mkv")
    return names[word], []


def _check_sides(source: VideoScan, name: str, layout: VideoLayout, size: tuple[int, int]) -> None:
    """Raise `UserError` if the encoder takes no frames as small, or even sides only where chroma is subsampled."""
    (height, width), (min_height, min_width) = size, CODECS[name].min_size
    if height < min_height or width < min_width:
        others = ", ".join(other for other, codec in CODECS.items() if codec.min_size == (1, 1))
        raise UserError(
            f"{source.path}: its result would be {width}×{height}, and {name} encodes frames from "
            f"{min_width}×{min_height} pixels on; choose one of codec={others}"
        )
    is_odd = any(side % step for side, step in zip(size, layout.subsampling, strict=True))
    if CODECS[name].needs_even and is_odd:
        raise UserError(
            f"{source.path}: its result would be {width}×{height}, and {name} with color of half the resolution has even sides "
            f"only; choose size={width - width % 2}x{height - height % 2}, or codec=ffv1 format=mkv"
        )


def _choose_color(
    source: VideoScan, layout: VideoLayout, size: tuple[int, int]
) -> tuple[YuvCoding, tuple[int, int, int, int], str]:
    """Return how colors are coded, what is stated of it, and a note if the source does not state its matrix.

    What the source does not state is stated only if other programs would assume something else for a video of the new size.
    """
    levels, primaries, transfer, matrix = source.color
    is_rgb, note = source.layout.kind == "rgb", ""
    is_full = layout.kind == "rgb" if is_rgb else source.coding.is_full
    if is_rgb or is_full:
        levels = 2 if is_full else 1
    if layout.kind == "rgb":
        matrix = RGB
    elif is_rgb:
        matrix = BT709
    elif source.layout.kind == "yuv" and matrix == UNKNOWN and guess_matrix(*size) != source.coding.matrix:
        matrix = source.coding.matrix
        title = "BT.601" if matrix == BT601 else "BT.709"
        note = f"the video does not state its matrix: by its size {title}, which its result states"
    used = source.coding.matrix if matrix in (UNKNOWN, RGB) else matrix
    coding = YuvCoding(used, is_full, layout.bits, layout.subsampling, source.coding.is_centered)
    return coding, (levels, primaries, transfer, matrix), note


def _choose_layout(library: Any, codec: Codec, wanted: VideoLayout, is_gray: bool) -> str:
    """Return FFmpeg's name of the encoder's layout that loses least of the wanted one."""
    known = [f.name for f in library.Codec(codec.encoder, "w").video_formats or ()]
    layouts = {name: parse_layout(name) for name in known if not re.match("yuvj|nv", name)}
    kind = "gray" if is_gray else "yuv" if wanted.kind == "gray" else wanted.kind
    rows, columns = wanted.subsampling

    def measure_loss(name: str) -> tuple[int, ...]:
        layout = layouts[name]
        own = layout.subsampling
        return (
            layout.kind == "gray" and kind != "gray",
            max(0, wanted.bits - layout.bits),
            (max(0, own[0] - rows) + max(0, own[1] - columns)) * (kind != "gray"),
            layout.has_alpha != wanted.has_alpha,
            layout.kind != kind,
            layout.bits - wanted.bits,
            4 - own[0] - own[1],
        )

    possible = [name for name, layout in layouts.items() if layout and (codec.has_alpha or not layout.has_alpha)]
    return min(possible, key=measure_loss)
