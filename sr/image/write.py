"""Write PNG files: to a temporary file first, which is then renamed, so that no incomplete image ever remains."""

import contextlib
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from sr.runtime.error import UserError


def to_uint8(image: Tensor) -> Tensor:
    """Convert float 0…1 to uint8, clamped and rounded half up."""
    return (image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_pil(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Convert uint8 `[1 or 3, H, W]` (with alpha `[1, H, W]`) to a Pillow image: L, RGB, LA or RGBA."""
    layers = pixels if alpha is None else torch.cat([pixels, alpha])
    array = layers.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def write_png(path: Path, image: Image.Image, icc: bytes | None = None, texts: Mapping[str, str] | None = None) -> None:
    """Write `image` to `path` atomically, with the color profile `icc` and `texts` as tEXt chunks."""
    chunks = PngImagePlugin.PngInfo()
    for key, text in (texts or {}).items():
        chunks.add_text(key, text)
    # Another process may write to the same folder, and `path` may be as long as a name can be.
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        image.save(temporary, format="PNG", icc_profile=icc, pnginfo=chunks)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
