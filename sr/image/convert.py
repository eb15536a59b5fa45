"""Convert NumPy arrays, Pillow images and torch tensors to one batch of pixels, and back to the same kind."""

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sr.image.damage import report_damage
from sr.image.pillow_file import GRAY_MODES, MODES, split_alpha
from sr.image.write import to_pil, to_uint8
from sr.runtime.error import UserError

ImageT = TypeVar("ImageT", np.ndarray, Image.Image, Tensor)

MAX_FLOAT = 2.0  # a float image with larger values is not in 0…1 but in 0…255


class Pixels(NamedTuple):
    """The pixels of an image, or of several images of one size."""

    color: Tensor  # uint8, or float in 0…1, [B, 1 or 3, H, W]
    alpha: Tensor | None = None  # uint8 [1, H, W], of a Pillow image


def to_pixels(image: np.ndarray | Image.Image | Tensor, name: str = "image") -> Pixels:
    """Return the pixels of an image; raise a `UserError` that begins with `name` if it is no image.

    NumPy: `[H, W]` or `[H, W, 1 or 3]`; torch: `[1 or 3, H, W]` or `[B, 1 or 3, H, W]`; both uint8 or float in 0…1.
    Pillow: 8 bits per channel, turned upright by its EXIF orientation.
    """
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            raise UserError(f"{name}: expected 8-bit gray or RGB (found mode {image.mode}); use image.convert('RGB')")
        with report_damage(name):  # a file that is open is decoded only now
            pixels, alpha = split_alpha(ImageOps.exif_transpose(image))
        return Pixels(pixels[None], alpha)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
            raise UserError(f"{name}: expected uint8, or float in 0…1 (found {image.dtype})")
        if image.ndim not in (2, 3):
            raise UserError(f"{name}: expected a NumPy array [H, W] or [H, W, C] (found shape {list(image.shape)})")
        color = torch.tensor(image[:, :, None] if image.ndim == 2 else image).permute(2, 0, 1)[None]
    elif isinstance(image, Tensor):
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise UserError(f"{name}: expected uint8, or float in 0…1 (found {image.dtype})")
        if image.ndim not in (3, 4):
            raise UserError(f"{name}: expected a tensor [C, H, W] or [B, C, H, W] (found shape {list(image.shape)})")
        color = image.detach() if image.ndim == 4 else image.detach()[None]
    else:
        raise UserError(f"{name}: expected a NumPy array, a Pillow image or a tensor (found {type(image).__name__})")
    if color.shape[1] not in (1, 3) or not color.numel():
        kind = "[H, W] or [H, W, 3]" if isinstance(image, np.ndarray) else "[C, H, W] with 1 or 3 channels"
        raise UserError(f"{name}: expected {kind} (found shape {list(image.shape)}); an alpha channel needs Pillow")
    if color.is_floating_point():
        _check_range(color, name)
    return Pixels(color)


def _check_range(color: Tensor, name: str) -> None:
    if not color.isfinite().all():
        raise UserError(f"{name}: expected numbers in 0…1 (found NaN or infinity)")
    if color.max() > MAX_FLOAT:
        raise UserError(f"{name}: expected floats in 0…1 (found {color.max():g}); divide by 255, or use uint8")


def from_pixels(pixels: Pixels, like: ImageT) -> ImageT:
    """Return `pixels` as an image of the kind, dtype, number of dimensions and device of `like`.

    The color profile of a Pillow image is copied, unless the image has color and the pixels are gray.
    """
    if isinstance(like, Image.Image):
        image = to_pil(to_uint8(pixels.color[0]) if pixels.color.is_floating_point() else pixels.color[0], pixels.alpha)
        profile = like.info.get("icc_profile")
        if profile and (like.mode in GRAY_MODES) == (image.mode in GRAY_MODES):
            image.info["icc_profile"] = profile
        return image
    if isinstance(like, np.ndarray):
        array = pixels.color[0].permute(1, 2, 0).cpu().numpy().astype(like.dtype)
        return array[:, :, 0] if like.ndim == 2 else array
    color = pixels.color.to(like.device, like.dtype)
    return color if like.ndim == 4 else color[0]
