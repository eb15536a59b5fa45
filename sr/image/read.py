"""Read image files: read a header without decoding, decode to uint8 tensors.

Every error in a file is a `UserError` that names the file; Pillow's own exceptions are never raised to the caller.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sr.image.damage import ADVICE, UnsupportedImageError, report_damage
from sr.image.file_format import Header
from sr.image.formats import FORMATS, identify_kind
from sr.image.png import find_png_damage, may_be_incomplete
from sr.image.tiff import count_pages, describe_samples, explain_unread_tiff
from sr.runtime.error import UserError
from sr.runtime.special_file import describe_special_file

# Pillow's modes with 8 bits per channel that it converts to RGB or L without guessing a color space.
GRAY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
MODES = (*GRAY_MODES, *ALPHA_MODES, "RGB", "RGBX", "P")
ORIENTATION_TAG = 0x0112  # EXIF
TRANSPOSING_ORIENTATIONS = (5, 6, 7, 8)  # 1…4 leave the size; Pillow ignores all other values
WIDTH_TAG, HEIGHT_TAG = 256, 257  # TIFF


class DecodedImage(NamedTuple):
    """A decoded image file, with everything that is needed to write it back."""

    pixels: Tensor  # uint8 [3 or 1, H, W]: 1 channel only if the file is gray
    alpha: Tensor | None  # uint8 [1, H, W]
    icc: bytes | None  # embedded color profile


def probe(path: Path) -> Header:
    """Read an image's header without decoding the pixels; raise a `UserError` if it is no 8-bit image."""
    with open_image(path) as image, report_damage(path):
        # Image.Image's method: the one of PNG files would decode the pixels
        is_transposed = Image.Image.getexif(image).get(ORIENTATION_TAG, 1) in TRANSPOSING_ORIENTATIONS
        width, height = image.size
        if image.format == "TIFF":  # Pillow has transposed its size already
            width, height = image.tag_v2[WIDTH_TAG], image.tag_v2[HEIGHT_TAG]
        height, width = (width, height) if is_transposed else (height, width)
        kind = "gray" if image.mode in GRAY_MODES else "color"
        return Header(height, width, kind, _count_frames(image), image.format)


def read_rgb(path: Path) -> Tensor:
    """Read an image as uint8 `[3, H, W]`: gray is repeated, alpha is dropped, the EXIF orientation is applied."""
    pixels = read_image(path).pixels
    return pixels.expand(3, -1, -1).contiguous() if pixels.shape[0] == 1 else pixels


def read_image(path: Path) -> DecodedImage:
    """Read an image with its alpha channel and color profile; the EXIF orientation is applied.

    The size is that of `probe`, or a `UserError` is raised.
    """
    height, width, *_ = probe(path)
    with open_image(path) as image, report_damage(path):
        image.load()
        if image.format == "PNG" and may_be_incomplete(image) and (damage := find_png_damage(path)):
            raise ValueError(damage)
        pixels, alpha = split_alpha(ImageOps.exif_transpose(image))
        if pixels.shape[1:] != (height, width):
            found = f"{pixels.shape[2]}×{pixels.shape[1]}"
            raise ValueError(f"its header announces {width}×{height} pixels upright, decoded are {found}")
        icc = image.info.get("icc_profile")
        return DecodedImage(pixels, alpha, icc if isinstance(icc, bytes) else None)


def split_alpha(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return the pixels of a Pillow image of one of `MODES`, uint8 `[3 or 1, H, W]`, and its alpha `[1, H, W]`, if any."""
    alpha = None
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = _to_tensor(image.getchannel("A"))
    return _to_tensor(image.convert(mode)), alpha


def open_image(path: Path) -> Image.Image:
    """Open an image of one of `FORMATS` with 8 bits per channel, without decoding it. No other decoder is tried."""
    special = describe_special_file(path)
    if special:
        raise UserError(f"{path}: expected a file (found {special}); {ADVICE}")
    with report_damage(path):
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            raise _explain_unidentified(path) from None
        except Image.DecompressionBombError as error:
            raise UserError(f"{path}: too large to open safely ({error})") from None
    with contextlib.ExitStack() as stack, report_damage(path):
        stack.callback(image.close)
        reason = _find_unsupported(path, image)
        if reason:
            raise UnsupportedImageError(f"{path}: {reason}")
        stack.pop_all()
    return image


def _explain_unidentified(path: Path) -> UserError:
    """Return the error for a file that no decoder accepts."""
    kind = identify_kind(path)
    if kind is None:
        return UserError(f"{path}: this is not an image, whatever its name says; {ADVICE}")
    if not kind.is_read:
        return UnsupportedImageError(f"{path}: this is {kind.title}; sr does not read {kind.name} yet: {kind.advice}")
    samples = describe_samples(path) if kind.name == "TIFF" else ""
    if samples:
        return UnsupportedImageError(f"{path}: {samples}, expected 8-bit gray or RGB; convert it first")
    return UserError(f"{path}: this {kind.name} file is damaged (its header cannot be read); {ADVICE}")


def _find_unsupported(path: Path, image: Image.Image) -> str:
    """Return why an image that Pillow opens is not read, and what to do, or an empty string."""
    if image.format == "TIFF":
        kind = identify_kind(path)
        if kind and not kind.is_read:
            return f"this is {kind.title}; sr does not read {kind.name} yet: {kind.advice}"
        reason = explain_unread_tiff(image)
        if reason:
            return reason
    if image.mode in MODES and not is_16_bit(image):
        return ""
    found = "16 bits a channel" if is_16_bit(image) else f"mode {image.mode}"
    return f"{found}, expected 8-bit gray or RGB; convert it first (16-bit and CMYK are not read)"


def is_16_bit(image: Image.Image) -> bool:
    """Return True if the file has 16 bits per channel, even where Pillow drops the lower 8 and reports RGB.

    A BMP with 5-6-5 bits per pixel (Pillow's raw mode "BGR;16") is not one.
    """
    raw_modes = [str(tile[3]) for tile in image.tile]
    return any(";16" in raw_mode and "BGR;16" not in raw_mode for raw_mode in raw_modes)


def _count_frames(image: Image.Image) -> int:
    return count_pages(image) if image.format == "TIFF" else getattr(image, "n_frames", 1)


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 `[1 or 3, H, W]`."""
    array = np.array(image)  # a copy: Pillow's own buffer is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
