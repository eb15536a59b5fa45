"""Convert NumPy arrays, Pillow images and torch tensors to one batch of pixels, and back to the same kind."""

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sr.image.write import to_pil, to_uint8
from sr.runtime.error import UserError

ImageT = TypeVar("ImageT", np.ndarray, Image.Image, Tensor)

GRAY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
MODES = (*GRAY_MODES, *ALPHA_MODES, "RGB", "RGBX", "P")
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
        return _read_pillow(image, name)
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
        if not color.isfinite().all():
            raise UserError(f"{name}: expected numbers in 0…1 (found NaN or infinity)")
        if color.max() > MAX_FLOAT:
            raise UserError(f"{name}: expected floats in 0…1 (found {color.max():g}); divide by 255, or use uint8")
    return Pixels(color)


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


def _read_pillow(image: Image.Image, name: str) -> Pixels:
    if image.mode not in MODES:
        raise UserError(f"{name}: expected 8-bit gray or RGB (found mode {image.mode}); use image.convert('RGB')")
    upright = ImageOps.exif_transpose(image)
    is_gray = upright.mode in GRAY_MODES
    alpha = None
    if upright.mode in ALPHA_MODES or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        alpha = _to_tensor(upright.getchannel("A"))
    return Pixels(_to_tensor(upright.convert("L" if is_gray else "RGB"))[None], alpha)


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 `[1 or 3, H, W]`."""
    array = np.array(image)  # a copy: Pillow's own buffer is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
