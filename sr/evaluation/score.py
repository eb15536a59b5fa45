"""Measure an image against its reference: `sr.score`."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sr.image.convert import to_pixels
from sr.image.write import to_uint8
from sr.metric.protocol import STANDARD_CHANNELS, Protocol
from sr.runtime.error import UserError, suggest_nearest


def score(
    image: np.ndarray | Image.Image | Tensor,
    reference: np.ndarray | Image.Image | Tensor,
    scale: int,
    protocol: str = "edsr",
) -> dict[str, float]:
    """Return PSNR in dB and SSIM of an image against its reference, as `sr.evaluate` measures them.

    Args:
        image: the upscaled image, in any of the kinds that `sr.upscale` takes; alpha is ignored.
        reference: the HR image, of the same size and of the same or another kind.
        scale: the factor of the upscaling; a border of so many pixels is not measured.
        protocol: `edsr` (luma, as most tables), `vdsr` (luma rounded to 8 bits) or `ntire` (RGB).

    Returns:
        `{"psnr": …, "ssim": …}`, for a batch `[B, C, H, W]` the means over its images. PSNR is infinite for equal images.

    Raises:
        UserError: the sizes differ, or the image is too small for SSIM's window.
    """
    if protocol not in STANDARD_CHANNELS:
        nearest = suggest_nearest(protocol, STANDARD_CHANNELS)
        raise UserError(f"protocol={protocol}: expected one of {', '.join(STANDARD_CHANNELS)}.{nearest}")
    if not isinstance(scale, int) or scale < 1:
        raise UserError(f"scale={scale}: expected a whole number, 1 or more")
    sr, hr = to_pixels(image, "image").color, to_pixels(reference, "reference").color
    _check_sizes(sr, hr, scale)
    channel = STANDARD_CHANNELS[protocol]
    measure = Protocol(protocol, scale, "y" if channel == "y8" else "rgb", channel)
    if channel == "y8" and sr.shape[1] != hr.shape[1]:
        raise UserError(
            f"protocol={protocol}: expected two gray or two RGB images (found {sr.shape[1]} channel(s) and {hr.shape[1]})"
        )
    values = measure(*(_select_channels(pixels.to(hr.device), measure) for pixels in (sr, hr)))
    return {name: value.mean().item() for name, value in values.items()}


def _check_sizes(sr: Tensor, hr: Tensor, scale: int) -> None:
    if len(sr) != len(hr):
        raise UserError(f"image and reference: expected batches of one size (found {len(sr)} and {len(hr)} images)")
    (h, w), (height, width) = sr.shape[-2:], hr.shape[-2:]
    if (h, w) != (height, width):
        is_uncropped = 0 <= height - h < scale and 0 <= width - w < scale
        advice = f"; crop the reference to a multiple of scale={scale}, its upper left {w}×{h} pixels" * is_uncropped
        raise UserError(f"image and reference: expected one size (found {w}×{h} and {width}×{height} pixels){advice}")


def _select_channels(pixels: Tensor, protocol: Protocol) -> Tensor:
    """Return what the protocol measures as float in 0…1: RGB, or luma for `vdsr`. Gray images count as RGB."""
    is_gray = pixels.shape[1] == 1
    rgb = pixels.expand(-1, 3, -1, -1)
    levels = rgb if rgb.dtype == torch.uint8 else to_uint8(rgb.float())
    return protocol.select_channels(levels, is_gray) / 255
