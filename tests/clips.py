"""Short videos for tests, written by PyAV, and what is in a video as PyAV sees it."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from sr.checkpoint.load import LoadedNet
from sr.image.file_format import WriteOptions
from sr.image.formats import find_format, read_suffix
from sr.prediction.opened_job import UpscaleJob, UpscaleResult
from sr.prediction.pipeline import iterate_upscaled

av = pytest.importorskip("av", reason="needs sr[video]")

H, W = 32, 48


class Identity(nn.Module):
    """Returns its input: an image that is upscaled by 1."""

    scale, channels, receptive_field = 1, 3, 1

    def forward(self, lr: Tensor) -> Tensor:
        return lr


class Doubled(nn.Module):
    """Upscales by 2 by repeating pixels."""

    scale, channels, receptive_field = 2, 3, 1

    def forward(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(2, -1).repeat_interleave(2, -2)


IDENTITY = LoadedNet(Identity().eval(), {"scale": 1, "color": "rgb"}, {}, 0)
DOUBLED = LoadedNet(Doubled().eval(), {"scale": 2, "color": "rgb"}, {}, 0)


def draw_frame(number: int, height: int = H, width: int = W) -> np.ndarray:
    """Return a smooth pattern of colors in the middle of the range, uint8 `[H, W, 3]`, that moves from frame to frame."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * a + y * b + 3 * number) / 9) for a, b in ((1, 0.5), (0.3, 1), (-0.7, 0.4))]
    return np.stack([128 + 60 * wave for wave in waves], -1).astype(np.uint8)


def write_clip(
    path: Path,
    codec: str = "ffv1",
    pixels: str = "yuv444p",
    times: Sequence[int] = range(10),
    unit: Fraction = Fraction(1, 25),
    size: tuple[int, int] = (H, W),
    has_audio: bool = False,
    options: dict[str, str] | None = None,
    noise: bool = False,
    set_up: Any = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frames are shown at `times`, in `unit`; `set_up(container, stream)` may change more of it."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = stream.time_base = unit
        audio = (
            container.add_stream("aac" if path.suffix in (".mp4", ".mov") else "libopus", rate=48000)
            if has_audio
            else None
        )
        if set_up:
            set_up(container, stream)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(draw_frame(number, *size), format="rgb24").reformat(format=pixels)
            if noise:
                for plane in frame.planes:
                    plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8))
            frame.pts, frame.time_base = time, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            write_audio(container, audio, float((times[-1] + 1) * unit))
    return path


def write_audio(container: Any, stream: Any, seconds: float) -> None:
    """Add a tone to a container."""
    count = int(seconds * 48000)
    wave = (0.3 * np.sin(np.arange(count) / 20)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2, 0), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = 48000, 0
    fifo = av.AudioFifo()
    fifo.write(frame)
    while (part := fifo.read(960)) is not None:
        part.pts = None
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def upscale(source: Path, target: Path, model: LoadedNet = IDENTITY, **options: Any) -> UpscaleResult:
    """Upscale one video, and raise its error."""
    write = WriteOptions(**options)
    (result,) = iterate_upscaled(model, [UpscaleJob(source, target, find_format(read_suffix(target)), write)])
    if result.error:
        raise result.error
    return result


def read_planes(path: Path) -> list[list[np.ndarray]]:
    """Return the planes of all frames."""
    with av.open(str(path)) as container:
        return [
            [
                np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width * size].copy()
                for plane in frame.planes
            ]
            for frame in container.decode(video=0)
            for size in [1 + (frame.format.components[0].bits > 8)]
        ]


def read_times(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Return when each frame is shown, and for how long, in seconds."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.duration * f.time_base) for f in container.decode(video=0)]


def read_packets(path: Path, index: int) -> list[tuple[Fraction, Fraction, bytes]]:
    """Return time, duration and content of all packets of a stream."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams[index])
        return [(p.pts * p.time_base, p.duration * p.time_base, bytes(p)) for p in packets if p.size]
