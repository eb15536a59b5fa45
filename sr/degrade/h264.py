"""H.264 compression and decompression by x264, through PyAV (pip install 'sr[video]').

Frames of a clip become one stream of I and P frames, whose errors change from frame to frame as those of a camera do; an
image alone is an I frame. Published as a degradation in Li et al., "COMISR: Compression-Informed Video Super-Resolution",
2021, https://arxiv.org/abs/2105.01237 (clips, CRF 15 to 35), and Wang et al., "VCISR: Blind Single Image Super-Resolution with
Video Compression Synthetic Data", 2023, https://arxiv.org/abs/2311.00996 (single images). Another version of x264 may
give other bits.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.degrade.op import Images, Op, Size, check_range
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction as Probability
from sr.runtime.option_types import IntRange, PositiveInt

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
MAX_CRF = 51
RATE = 25  # frames per second; x264 weights the quantization of frames by their duration


class H264(Op):
    """Compress at a constant rate factor in the range `crf` (0…51, lower is better), chroma subsampled (4:2:0).

    `preset` is x264's effort, `interval` the number of frames from one I frame to the next. There are no B frames: cameras
    that send at once have none.
    """

    takes_clips = True

    def __init__(
        self,
        probability: Probability = 1.0,
        crf: IntRange = (23, 35),
        preset: Preset = "veryfast",
        interval: PositiveInt = 50,
    ) -> None:
        super().__init__(probability)
        self.crf = check_range("H264.crf", crf, 0, MAX_CRF)
        if preset not in get_args(Preset):
            raise UserError(f"data.degrade: H264.preset={preset}: expected one of {', '.join(get_args(Preset))}")
        self.preset, self.interval = preset, interval
        _import_av()

    def draw(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.crf[0], self.crf[1] + 1))

    def forward(self, images: Images, parameters: Sequence[int], lr_size: Size) -> Images:
        return [self.compress([image], crf)[0] for image, crf in zip(images, parameters, strict=True)]

    def compress(self, frames: Images, crf: int) -> Images:
        """Compress consecutive frames of one size, `[1 or 3, h, w]` each in 0…1: -> the same, 8-bit levels / 255."""
        channels, (height, width), device = len(frames[0]), frames[0].shape[-2:], frames[0].device
        if channels not in (1, 3):
            raise UserError(f"data.degrade: H264: expected 1 or 3 channels (found {channels})")
        decoded = list(_transcode(map(_to_array, frames), self._list_options(crf)))
        if len(decoded) != len(frames):
            raise UserError(f"data.degrade: H264: x264 gave {len(decoded)} frames of {len(frames)}; report this")
        results = [torch.from_numpy(x[:height, :width]).permute(2, 0, 1).float().div_(255).to(device) for x in decoded]
        return results if channels == 3 else [image.mean(dim=0, keepdim=True) for image in results]

    def _list_options(self, crf: int) -> dict[str, str]:
        parameters = f"keyint={self.interval}:min-keyint={self.interval}:scenecut=0:bframes=0:threads=1"
        return {"crf": str(crf), "preset": self.preset, "x264-params": parameters}


def _transcode(frames: Iterator[np.ndarray], options: dict[str, str]) -> Iterator[np.ndarray]:
    """Encode RGB frames `[H, W, 3]` of even sides, and yield them decoded."""
    av = _import_av()
    encoder = decoder = None
    for time, frame in enumerate(frames):
        if encoder is None:
            encoder, decoder = _create_encoder(av, frame, options), av.CodecContext.create("h264", "r")
            decoder.thread_count = 1
        converted = _convert(av.VideoFrame.from_ndarray(frame, format="rgb24"), "yuv420p")
        converted.pts, converted.time_base = time, encoder.time_base
        for packet in encoder.encode(converted):
            yield from _to_rgb(decoder.decode(packet))
    for packet in encoder.encode(None):
        yield from _to_rgb(decoder.decode(packet))
    yield from _to_rgb(decoder.decode(None))


def _create_encoder(av: ModuleType, frame: np.ndarray, options: dict[str, str]) -> Any:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frame.shape[:2]
    encoder.pix_fmt, encoder.thread_count, encoder.options = "yuv420p", 1, options
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    return encoder


def _convert(frame: Any, pixel_format: str) -> Any:
    """Convert between RGB and BT.601 studio range, the same on every machine."""
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    exact = Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # without the next two, RGB is half a level too dark
    exact |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    full, studio = ColorRange.JPEG, ColorRange.MPEG
    to_rgb = pixel_format == "rgb24"
    return frame.reformat(
        format=pixel_format,
        src_colorspace=Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU601,
        interpolation=Interpolation.BICUBIC | exact,
        src_color_range=studio if to_rgb else full,
        dst_color_range=full if to_rgb else studio,
    )


def _to_rgb(frames: Sequence[Any]) -> Iterator[np.ndarray]:
    return (_convert(frame, "rgb24").to_ndarray() for frame in frames)


def _to_array(image: Tensor) -> np.ndarray:
    """Return levels of 8 bits, `[H, W, 3]`; the last row or column is repeated if there is an odd number of them."""
    levels = (image.detach() * 255).round().clamp(0, 255).expand(3, -1, -1)
    height, width = levels.shape[-2:]
    levels = F.pad(levels[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
    return np.ascontiguousarray(levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy())


@lru_cache
def _import_av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise UserError("data/degrade=h264: needs PyAV (not installed): pip install 'sr[video]'") from None
    av.logging.set_level(None)  # x264 reports each stream
    return av
