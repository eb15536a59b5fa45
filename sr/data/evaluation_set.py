"""Named evaluation sets: the folder `root/NAME`, with its images in `HR` or directly in it."""

from pathlib import Path

from sr.data.image_set import ImageSet
from sr.image.read import list_images
from sr.metric.ssim import WINDOW_SIZE
from sr.runtime.error import UserError, suggest_nearest


def find_set(root: Path, name: str, option: str, own_name: str = "") -> Path:
    """Return the folder of the set `name`: `root/NAME`, or `name` as a path.

    `option` is the option that named it and `own_name` another name that it accepts, for the error message.
    """
    path = root / name if (root / name).is_dir() else Path(name).expanduser()
    if not path.is_dir():
        expected = f'"{own_name}" or a folder' if own_name else "a folder"
        folders = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        raise UserError(
            f"{option}={name}: expected {expected}. Put its HR images into {root / name / 'HR'}, or set the folder of "
            f"your sets: paths.data=FOLDER or the variable SR_DATA.{suggest_nearest(name, folders)}"
        )
    return path


def find_hr_folder(path: Path) -> Path:
    """Return the folder of a set's HR images: its subfolder `HR` if there is one, else the folder itself."""
    return path / "HR" if (path / "HR").is_dir() else path


def list_hr_files(path: Path, option: str) -> list[Path]:
    """List the HR images of the set in the folder `path`; `option` is the option that named the set."""
    return list_images(find_hr_folder(path), option)


def list_lr_files(path: Path, scale: int, option: str) -> list[Path] | None:
    """List the LR images that the set in `path` ships in `LR_bicubic/X{scale}`; None if it has no such folder."""
    folder = path / "LR_bicubic" / f"X{scale}"
    return list_images(folder, option) if folder.is_dir() else None


def check_sizes(images: ImageSet, option: str) -> None:
    """Raise `UserError` if an image, less a border of `scale` pixels, is smaller than the window of SSIM.

    `option` is the option that named the set, with its value.
    """
    s = images.scale
    for name, (h, w) in zip(images.names, images.sizes, strict=True):
        if min(h, w) < WINDOW_SIZE + 2 * s:
            raise UserError(f"{option}: image {name} ({w}×{h}) is too small to be evaluated at scale {s}")
