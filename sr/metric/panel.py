"""Sample images: a crop of LR, bicubic, SR and HR in one panel, with the crop's PSNR below each result.

The two rows are bicubic | SR over LR | HR: what is to be compared lies side by side, and fits a grid of 260-pixel tiles 1:1.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sr.image.bands import show_bands
from sr.image.batch import EvaluationOutput
from sr.image.panel import draw_tiles, repeat_pixels
from sr.image.resize import upscale_bicubic
from sr.metric.protocol import Protocol
from sr.metric.psnr import psnr
from sr.metric.ssim import WINDOW_SIZE

MAX_CROP_SIDE = 64  # HR pixels
MIN_TILE_SIDE = 128  # screen pixels


def draw_panel(
    output: EvaluationOutput, protocol: Protocol, title: str = "", max_side: int = MAX_CROP_SIDE, strip: bool = False
) -> Image.Image:
    """Draw one image, `[1, C, H, W]` each, as a panel; `strip` puts LR | bicubic | SR | HR into one row.

    The crop of at most `max_side`² HR pixels is where bicubic interpolation is worst: the same for every net.
    """
    lr, sr, hr = (image.detach().cpu().to(torch.promote_types(image.dtype, torch.float32)) for image in output)
    s = hr.shape[-1] // lr.shape[-1]
    bicubic = upscale_bicubic(lr, s)
    side = min(max_side, *hr.shape[-2:]) // s * s
    top, left = _find_hardest_crop(bicubic, hr, side, s)
    crops = [image[..., top : top + side, left : left + side] for image in (bicubic, sr, hr)]
    lr_crop = lr[..., top // s : (top + side) // s, left // s : (left + side) // s]
    zoom = max(1, -(-MIN_TILE_SIDE // side))  # whole pixels only
    shown = show_bands([*crops, lr_crop], hr) if protocol.color == "bands" else [*crops, lr_crop]
    bicubic_tile, sr_tile, hr_tile = (repeat_pixels(image.nan_to_num(0), zoom) for image in shown[:3])
    lr_tiles = {f"LR {side // s} x {side // s}": repeat_pixels(shown[3], zoom * s)}
    result_tiles = {
        f"bicubic{_format_psnr(protocol, crops[0], crops[2])}": bicubic_tile,
        f"SR{_format_psnr(protocol, crops[1], crops[2])}": sr_tile,
    }
    tiles = {**lr_tiles, **result_tiles} if strip else {**result_tiles, **lr_tiles}
    return draw_tiles({**tiles, "HR": hr_tile}, columns=4 if strip else 2, title=title)


def _format_psnr(protocol: Protocol, sr: Tensor, hr: Tensor) -> str:
    """Return `, crop 30.12 dB`; nothing if the crop is too small for it."""
    if min(sr.shape[-2:]) < WINDOW_SIZE + 2 * protocol.scale:
        return ""
    prepared = protocol.prepare(sr, hr)
    return f", crop {psnr(prepared.x, prepared.y).item():.2f} dB"


def _find_hardest_crop(bicubic: Tensor, hr: Tensor, side: int, scale: int) -> tuple[int, int]:
    """Return top and left of the `side`×`side` window with the largest error of bicubic, on LR's pixel grid."""
    stride = max(scale, side // 4 // scale * scale)
    error = F.avg_pool2d((bicubic - hr).abs().mean(dim=1, keepdim=True).nan_to_num(0), side, stride)[0, 0]
    row, column = divmod(int(error.argmax()), error.shape[1])
    return row * stride, column * stride
