"""Pictures from disk: found in a folder, looked at without decoding, decoded to 8-bit tensors.

Every fault of a file is a `UserError` that names it; Pillow's own errors never get out.
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

# Modes that are 8 bits a channel and that Pillow turns into RGB or L without a guess about colour.
_GRAY, _COLOR, _ALPHA = ("1", "L"), ("RGB", "P", "RGBX"), ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION = 0x0112
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error)  # what Pillow raises over bad bytes


class DecodedImage(NamedTuple):
    """A decoded file, with what is needed to write it back."""

    pixels: Tensor  # uint8 [3 or 1, H, W]: 1 channel only when the file is gray
    alpha: Tensor | None  # uint8 [1, H, W]
    icc: bytes | None  # embedded colour profile


class Header(NamedTuple):
    """Size as it will be read (upright), and what kind of picture."""

    height: int
    width: int
    kind: str  # gray or colour


def list_images(folder: Path, key: str) -> list[Path]:
    """The pictures directly in `folder`, by name; hidden files are left out. `key` is the dial that named it."""
    if not folder.exists():
        raise UserError(f"{key}={folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: expected a folder of images, this is a file")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise UserError(f"{key}={folder}: no images in this folder (looked for {', '.join(SUFFIXES)})")
    return found


def probe(path: Path) -> Header:
    """What the header alone tells; a file that is no 8-bit image is found out here already."""
    with _opened(path) as image:
        try:
            turned = Image.Image.getexif(image).get(_ORIENTATION, 1) >= 5  # PNG's own getexif would decode the picture
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        width, height = image.size
        if image.format == "TIFF":  # Pillow has turned its size already
            width, height = image.tag_v2[256], image.tag_v2[257]
        height, width = (width, height) if turned else (height, width)
        return Header(height, width, "gray" if image.mode in (*_GRAY, "LA", "La") else "colour")


def read_rgb(path: Path) -> Tensor:
    """uint8 `[3, H, W]`: gray is repeated, alpha is dropped, EXIF orientation applied."""
    pixels = read_image(path).pixels
    return pixels.expand(3, -1, -1).contiguous() if pixels.shape[0] == 1 else pixels


def read_image(path: Path) -> DecodedImage:
    """The file at `path`, upright by its EXIF orientation."""
    with _opened(path) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except _DAMAGE as error:
            raise _damaged(path, error) from None
        icc = image.info.get("icc_profile")
    alpha = None
    gray = upright.mode in (*_GRAY, "LA", "La")
    if upright.mode in _ALPHA or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        alpha = _tensor(upright.getchannel("A"))
    return DecodedImage(_tensor(upright.convert("L" if gray else "RGB")), alpha, icc)


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        raise UserError(f"{path}: this is not an image, whatever its name says; replace or remove it") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large to open safely ({error})") from None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:  # the system's own, not Pillow's
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        raise _damaged(path, error) from None
    if image.mode not in _GRAY + _COLOR + _ALPHA or _is_deep(image):
        what = "16 bits a channel" if _is_deep(image) else f"mode {image.mode}"
        image.close()
        raise UserError(f"{path}: {what}, expected 8-bit gray or RGB; convert it first (16-bit and CMYK are not read)")
    return image


def _is_deep(image: Image.Image) -> bool:
    """16 bits a channel in the file, where Pillow itself would drop the lower eight and say RGB; BMP's 5-6-5 is not."""
    raw = [str(tile[3]) for tile in image.tile]
    return any(";16" in args and "BGR;16" not in args for args in raw)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: this image is damaged ({error}); replace or remove it")


def _tensor(image: Image.Image) -> Tensor:
    array = np.array(image)  # a copy: Pillow's own buffer is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
