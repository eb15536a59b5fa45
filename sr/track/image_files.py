"""Images of a run as files: one with a readable name in the run's folder, and the two that MLflow's image grid shows."""

import hashlib
import io
import os
import re
import sys
from pathlib import Path

from PIL import Image

from sr.record.run_file import create_folder, open_file, write_atomic
from sr.runtime.error import UserError
from sr.track.mlflow_format import KEY_DIGEST_LENGTH

IMAGE_FOLDER = "panels"
MAX_PART_LENGTH = 180  # bytes of a folder's or image's name; a file system has 255


def name_image_file(key: str, step: int) -> str:
    """Return where the run's folder has an image: `panels/val/Set5 x2 edsr/baby step 300.png`."""
    folder = "/".join(map(_make_file_name, [IMAGE_FOLDER, *key.split("/")]))
    return f"{folder} step {step}.png"


def save_image(image: Image.Image, root: Path, name: str) -> None:
    """Write an image as PNG into the run's folder `root`, whole or not at all: the process that sends it may read it."""
    content = io.BytesIO()
    image.save(content, "PNG")
    create_folder((root / name).parent, root)
    write_atomic(root / name, content.getvalue(), sync=False)


def make_grid_files(source: Path, folder: Path, names: list[str]) -> list[Path]:
    """Make the files of MLflow's image grid, with these names, in `folder`: a copy of the PNG, and the same as WebP.

    MLflow's own `log_image` shrinks and blurs the second one; ours has the same pixels. There are none of a file that is
    missing, and of one that is no image, which is reported.
    """
    png, webp = (folder / name for name in names)
    try:
        with os.fdopen(open_file(source, os.O_RDONLY), "rb") as file:
            png.write_bytes(file.read())
        with Image.open(png, formats=["PNG"]) as image:
            image.save(webp, lossless=True, method=0)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, UserError, Image.DecompressionBombError) as error:
        print(f"\n{source} is not sent ({error})", file=sys.stderr)
        return []
    return [png, webp]


def _make_file_name(part: str) -> str:
    """Return a part of a key as a name in a file system, with a digest if it had to be changed."""
    name = re.sub(r"[^\w .,()+=@~-]|^[. ]+", "_", part).strip() or "_"
    name = os.fsencode(name)[:MAX_PART_LENGTH].decode(errors="ignore")
    return name if name == part else f"{name}-{hashlib.sha256(os.fsencode(part)).hexdigest()[:KEY_DIGEST_LENGTH]}"
