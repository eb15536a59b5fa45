"""Write image files: to a temporary file first, which is then renamed, so that no incomplete image ever remains."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sr.runtime.error import DiskError


def to_uint8(image: Tensor) -> Tensor:
    """Convert float 0…1 to uint8, clamped and rounded half up."""
    return (image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_pil(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Convert uint8 `[1 or 3, H, W]` (with alpha `[1, H, W]`) to a Pillow image: L, RGB, LA or RGBA."""
    layers = pixels if alpha is None else torch.cat([pixels, alpha])
    array = layers.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def write_png(path: Path, image: Image.Image) -> None:
    """Write `image` to `path` atomically."""
    with write_atomically(path) as temporary:
        image.save(temporary, format="PNG")


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give the block a temporary path in the folder of `path`, and rename it afterwards; remove it after an error."""
    # Another process may write to the same folder, and `path` may be as long as a name can be.
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
