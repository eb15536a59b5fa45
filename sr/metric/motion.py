"""The motion between two frames of a clip, by classical optical flow: where was each pixel in the frame before?

DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016, https://arxiv.org/abs/1603.03590) as OpenCV has
it, with its preset `medium` down to the full resolution, on full-range luma of 8 bits. A pixel is visible in both frames if
the motion there and the motion back cancel (Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large
Displacement Optical Flow", 2010, eq. 5). The motion is that of HR, so that errors of a result do not change what it is
measured on.
"""

from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr.image.color import rgb_to_gray
from sr.runtime.error import UserError

RELATIVE, ABSOLUTE = 0.01, 0.5  # α1 and α2 of Sundaram et al.
STATIC = 0.5  # pixels; what moves less is static
MIN_VISIBLE = 0.5  # share of the pixels; below it, the frames are not of one scene
MIN_STATIC = 0.01  # share of the pixels; below it, nothing is measured on static ones


class Motion(NamedTuple):
    """The motion from one frame to the frame before it, for each pixel `[H, W]`."""

    flow: Tensor  # [H, W, 2]: columns and rows to the position in the frame before; float64
    visible: Tensor  # bool: seen in both frames
    static: Tensor  # bool: visible, and moved by less than STATIC pixels

    def crop(self, border: int) -> "Motion":
        """Return the motion without a border; what comes from it is not visible."""
        if not border:
            return self
        flow, visible, static = (x[border:-border, border:-border] for x in self)
        inside = _is_inside(*_list_positions(flow), *flow.shape[:2])
        return Motion(flow, visible & inside, static & inside)


def import_opencv(option: str) -> ModuleType:
    """Import OpenCV, an extra, for the option that needs it."""
    try:
        import cv2
    except ImportError:
        raise UserError(f"{option}: needs OpenCV (not installed): pip install 'sr[video]'") from None
    return cv2


def describe_motion() -> str:
    """Return what the numbers depend on besides the images."""
    import cv2

    return (
        f"DIS optical flow of HR, preset medium with finest scale 0, OpenCV {cv2.__version__}; visible: "
        f"|w + w'|² ≤ {RELATIVE}(|w|² + |w'|²) + {ABSOLUTE}, at least {MIN_VISIBLE:.0%} of the pixels"
    )


def find_motion(frame: Tensor, previous: Tensor) -> Motion:
    """Return the motion between two frames `[C, H, W]` in 0…1, on the device of `frame`."""
    luma = [_to_bytes(image) for image in (frame, previous)]
    flow, visible = _find_flow(*luma, *frame.shape[-2:])
    flow, visible = torch.from_numpy(flow).to(frame.device), torch.from_numpy(visible).to(frame.device)
    return Motion(flow.double(), visible, visible & (flow.square().sum(dim=-1) < STATIC**2))


def warp(image: Tensor, motion: Motion) -> Tensor:
    """Return the frame before, `[C, H, W]`, at the positions of this frame's pixels; bilinear interpolation."""
    height, width = image.shape[-2:]
    columns, rows = _list_positions(motion.flow)
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)
    return F.grid_sample(image[None], grid[None].to(image.dtype), padding_mode="border", align_corners=True)[0]


def _to_bytes(image: Tensor) -> bytes:
    """Return the luma of an image as 8-bit levels, row by row."""
    levels = (image * 255).round().to(torch.uint8)[None]
    gray = rgb_to_gray(levels) if levels.shape[1] in (1, 3) else levels.float().mean(dim=1).round().to(torch.uint8)
    return gray.cpu().contiguous().numpy().tobytes()


@lru_cache(maxsize=4)  # several metrics measure a net and bicubic on the same two frames
def _find_flow(frame: bytes, previous: bytes, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow from `frame` to `previous`, float32 `[H, W, 2]`, and where it is confirmed, bool `[H, W]`."""
    import cv2

    images = [np.frombuffer(luma, np.uint8).reshape(height, width) for luma in (frame, previous)]
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)  # the preset stops at half the resolution, and is 0.1 pixels off
    there, back = (method.calc(*pair, None).astype(np.float32) for pair in (images, images[::-1]))
    columns, rows = _list_positions(torch.from_numpy(there))
    inside = _is_inside(columns, rows, height, width).numpy()
    back = cv2.remap(back, columns.float().numpy(), rows.float().numpy(), cv2.INTER_LINEAR)
    error, size = np.square(there + back).sum(-1), np.square(there).sum(-1) + np.square(back).sum(-1)
    return there, (error <= RELATIVE * size + ABSOLUTE) & inside


def _list_positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return the column and the row in the frame before of each pixel, `[H, W]` each."""
    height, width = flow.shape[:2]
    columns, rows = torch.arange(width, device=flow.device), torch.arange(height, device=flow.device)[:, None]
    return columns + flow[..., 0], rows + flow[..., 1]


def _is_inside(columns: Tensor, rows: Tensor, height: int, width: int) -> Tensor:
    return (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
