"""Read image files: list a folder, read a header without decoding, decode to uint8 tensors.

Every error in a file is a `UserError` that names the file; Pillow's own exceptions are never raised to the caller.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sr.runtime.error import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

# Pillow's modes with 8 bits per channel that it converts to RGB or L without guessing a color space.
GRAY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
MODES = (*GRAY_MODES, *ALPHA_MODES, "RGB", "RGBX", "P")
ORIENTATION_TAG = 0x0112  # EXIF
WIDTH_TAG, HEIGHT_TAG = 256, 257  # TIFF
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error)  # raised for a damaged file


class DecodedImage(NamedTuple):
    """A decoded image file, with everything that is needed to write it back."""

    pixels: Tensor  # uint8 [3 or 1, H, W]: 1 channel only if the file is gray
    alpha: Tensor | None  # uint8 [1, H, W]
    icc: bytes | None  # embedded color profile


class Header(NamedTuple):
    """The size of an image after its EXIF orientation is applied, and whether it has color."""

    height: int
    width: int
    kind: str  # gray or color


def list_images(folder: Path, key: str) -> list[Path]:
    """Return the images directly in `folder`, sorted by name, without hidden files.

    `key` is the option that names the folder, for the error messages.
    """
    if not folder.exists():
        raise UserError(f"{key}={folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: expected a folder of images, this is a file")
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not images:
        raise UserError(f"{key}={folder}: no images in this folder (looked for {', '.join(SUFFIXES)})")
    return images


def probe(path: Path) -> Header:
    """Read an image's header without decoding the pixels; raise a `UserError` if it is no 8-bit image."""
    with _open(path) as image:
        try:
            # Image.Image's method: the one of PNG files would decode the pixels
            is_transposed = Image.Image.getexif(image).get(ORIENTATION_TAG, 1) >= 5
        except PILLOW_ERRORS as error:
            raise _damage_error(path, error) from None
        width, height = image.size
        if image.format == "TIFF":  # Pillow has transposed its size already
            width, height = image.tag_v2[WIDTH_TAG], image.tag_v2[HEIGHT_TAG]
        height, width = (width, height) if is_transposed else (height, width)
        return Header(height, width, "gray" if image.mode in GRAY_MODES else "color")


def read_rgb(path: Path) -> Tensor:
    """Read an image as uint8 `[3, H, W]`: gray is repeated, alpha is dropped, the EXIF orientation is applied."""
    pixels = read_image(path).pixels
    return pixels.expand(3, -1, -1).contiguous() if pixels.shape[0] == 1 else pixels


def read_image(path: Path) -> DecodedImage:
    """Read an image with its alpha channel and color profile; the EXIF orientation is applied."""
    with _open(path) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except PILLOW_ERRORS as error:
            raise _damage_error(path, error) from None
        icc = image.info.get("icc_profile")
    return DecodedImage(*split_alpha(upright), icc)


def split_alpha(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return the pixels of a Pillow image of one of `MODES`, uint8 `[3 or 1, H, W]`, and its alpha `[1, H, W]`, if any."""
    alpha = None
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = _to_tensor(image.getchannel("A"))
    return _to_tensor(image.convert(mode)), alpha


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        raise UserError(f"{path}: this is not an image, whatever its name says; replace or remove it") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large to open safely ({error})") from None
    except PILLOW_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:  # from the operating system, not from Pillow
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        raise _damage_error(path, error) from None
    if image.mode not in MODES or _is_16_bit(image):
        found = "16 bits a channel" if _is_16_bit(image) else f"mode {image.mode}"
        image.close()
        raise UserError(f"{path}: {found}, expected 8-bit gray or RGB; convert it first (16-bit and CMYK are not read)")
    return image


def _is_16_bit(image: Image.Image) -> bool:
    """Return True if the file has 16 bits per channel, even where Pillow drops the lower 8 and reports RGB.

    A BMP with 5-6-5 bits per pixel (Pillow's raw mode "BGR;16") is not one.
    """
    raw_modes = [str(tile[3]) for tile in image.tile]
    return any(";16" in raw_mode and "BGR;16" not in raw_mode for raw_mode in raw_modes)


def _damage_error(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: this image is damaged ({error}); replace or remove it")


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 `[1 or 3, H, W]`."""
    array = np.array(image)  # a copy: Pillow's own buffer is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
