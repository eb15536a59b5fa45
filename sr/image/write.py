"""Pictures to disk: PNG, written beside its place and then renamed, so that no half file is ever left."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sr.runtime.error import UserError


def to_uint8(image: Tensor) -> Tensor:
    """Float 0…1 to uint8, clamped and rounded half up."""
    return (image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_pil(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """uint8 `[1 or 3, H, W]` (and `[1, H, W]` alpha) as a Pillow image: L, RGB, LA or RGBA."""
    layers = pixels if alpha is None else torch.cat([pixels, alpha])
    array = layers.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def write_png(path: Path, image: Image.Image, icc: bytes | None = None) -> None:
    """Write `image` to `path`, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        image.save(part, format="PNG", icc_profile=icc)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
