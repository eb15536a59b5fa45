"""Frames of FFmpeg as tensors: the layouts of pixels that are read and written, and the display matrix."""

import re
import struct
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.image.yuv import YuvCoding, rgb_to_yuv, round_levels, yuv_to_rgb

_NAME = re.compile(r"(yuvj|yuva|yuv|gbra|gbr|gray)(420|422|444|440)?p?(9|1[0246])?(le)?")
_SUBSAMPLING = {"420": (2, 2), "422": (1, 2), "440": (2, 1), "444": (1, 1), None: (1, 1)}
REPACKED = {  # layouts that FFmpeg repacks into planes without a change of numbers
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "yuyv422": "yuv422p", "uyvy422": "yuv422p",
    "p010le": "yuv420p10le", "p210le": "yuv422p10le", "p410le": "yuv444p10le",
    **dict.fromkeys(("rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr"), "gbrp"),
    **dict.fromkeys(("rgba", "bgra", "argb", "abgr"), "gbrap"),
}  # fmt: skip
IDENTITY = (1, 0, 0, 1)


class VideoLayout(NamedTuple):
    """The pixels of a video frame: `yuv`, `rgb` or `gray`, in planes."""

    name: str  # FFmpeg's, of the planes: yuv420p10le
    kind: str
    subsampling: tuple[int, int]
    bits: int
    has_alpha: bool

    @property
    def dtype(self) -> np.dtype:
        """The type of the numbers in the planes."""
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")


def parse_layout(name: str) -> VideoLayout | None:
    """Return the layout of FFmpeg's name for it, or None if its frames are not read."""
    planar = REPACKED.get(name, name)
    match = _NAME.fullmatch(planar)
    if not match or (match[1].startswith("yuv") and match[2] is None):
        return None
    kind = "rgb" if match[1].startswith("gbr") else match[1][:3] if match[1] != "gray" else "gray"
    return VideoLayout(planar, kind, _SUBSAMPLING[match[2]], int(match[3] or 8), match[1] in ("yuva", "gbra"))


def read_frame(frame: Any, layout: VideoLayout, coding: YuvCoding) -> tuple[Tensor, Tensor | None]:
    """Return the pixels `[1 or 3, H, W]` and alpha `[1, H, W]` of a frame: uint8 of 8 bits, else uint16 with white 65535."""
    frame = frame if frame.format.name == layout.name else frame.reformat(format=layout.name)
    planes = [torch.from_numpy(_read_plane(plane, layout.dtype)) for plane in frame.planes]
    alpha = planes.pop() if layout.has_alpha else None
    white = 255 if layout.bits == 8 else 65535
    if layout.kind == "yuv":
        units = yuv_to_rgb(planes, coding)
    elif layout.kind == "rgb":  # stored as G, B, R
        units = (torch.stack([planes[2], planes[0], planes[1]]).float() / (2**layout.bits - 1),)
    else:
        black, span, _, _ = coding.find_range()
        units = ((planes[0][None].float() - black) / span,)
    pixels = torch.cat([round_levels(unit.mul_(white), white) for unit in units], dim=1)
    if alpha is not None:
        alpha = round_levels(alpha[None].float() * (white / (2**layout.bits - 1)), white)
    return pixels, alpha


def write_frame(
    library: Any,
    pixels: Tensor,
    alpha: Tensor | None,
    white: float,
    layout: VideoLayout,
    coding: YuvCoding,
    stored: str,
) -> Any:
    """Return the frame of FFmpeg with these pixels `[1 or 3, H, W]`, 0…`white`; alpha is added or left out as the layout has it.

    It is packed as `stored`, FFmpeg's name of a layout with the same numbers.
    """
    levels = 2**layout.bits - 1
    if layout.kind == "gray":
        black, span, _, _ = coding.find_range()
        planes = [round_levels(pixels[0].float() * (span / white) + black, levels)]
    elif layout.kind == "rgb":
        red, green, blue = round_levels(pixels.expand(3, -1, -1).float() * (levels / white), levels)
        planes = [green, blue, red]
    else:
        planes = rgb_to_yuv(pixels.expand(3, -1, -1), coding, white)
    if layout.has_alpha:
        opaque = torch.full_like(pixels[:1], white) if alpha is None else alpha
        planes.append(round_levels(opaque[0].float() * (levels / white), levels))
    height, width = pixels.shape[-2:]
    frame = library.VideoFrame(width, height, layout.name)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, layout.dtype).reshape(values.shape[0], -1)
        rows[:, : values.shape[1]] = values.numpy()
    return frame if stored == layout.name else frame.reformat(format=stored)


def read_display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """Return the signs of the four numbers by which a frame is turned and flipped; None for another angle."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return IDENTITY
    numbers = struct.unpack("=9i", bytes(data))
    signs = tuple((number > 0) - (number < 0) for number in (numbers[0], numbers[1], numbers[3], numbers[4]))
    a, b, c, d = signs
    return signs if (a and d and not b and not c) or (b and c and not a and not d) else None


def turn_upright(image: Tensor, matrix: tuple[int, int, int, int]) -> Tensor:
    """Turn and flip `[C, H, W]` as it is shown: x' = a·x + c·y, y' = b·x + d·y."""
    a, b, c, d = matrix
    image = image.transpose(-2, -1) if b else image
    flipped = [axis for axis, sign in ((-1, c if b else a), (-2, b or d)) if sign < 0]
    return image.flip(flipped) if flipped else image


def _read_plane(plane: Any, dtype: np.dtype) -> np.ndarray:
    values = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width]
    return np.ascontiguousarray(values.astype(dtype.newbyteorder("=")))
