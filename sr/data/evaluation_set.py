"""Named evaluation sets: the folder `root/NAME`, with its images in `HR` or directly in it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sr.data.file_errors import FileError
from sr.data.image_set import ImageSet
from sr.image.file_format import Header
from sr.image.levels import count_bits
from sr.image.listing import is_image_name, list_images
from sr.metric.ssim import WINDOW_SIZE
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.terminal import print_note


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


def report_images_outside_hr(path: Path, option: str) -> None:
    """Print a note if a set has images next to its subfolder `HR`, of which alone the images are taken."""
    count = 0 if find_hr_folder(path) == path else sum(is_image_name(x) and x.is_file() for x in path.iterdir())
    if count:
        print_note(f"{option}={path}: left out: {count} image(s) next to the subfolder HR")


def list_hr_files(path: Path, option: str) -> list[Path]:
    """List the HR images of the set in the folder `path`; `option` is the option that named the set.

    Raises `UserError` if an image of the set is of a format that is not read.
    """
    report_images_outside_hr(path, option)
    return list_images(find_hr_folder(path), option, is_complete=True)


def list_lr_files(path: Path, scale: int, option: str) -> list[Path] | None:
    """List the LR images that the set in `path` ships in `LR_bicubic/X{scale}`; None if it has no such folder."""
    folder = path / "LR_bicubic" / f"X{scale}"
    return list_images(folder, option, is_complete=True) if folder.is_dir() else None


def check_sizes(images: ImageSet) -> None:
    """Raise one `FileError` for all images that, less a border of `scale` pixels, are smaller than the window of SSIM."""
    s = images.scale
    sizes = zip(images.hr_files, images.sizes, strict=True)
    errors = [describe_small_evaluation_image(path, size, s) for path, size in sizes if min(size) < smallest_side(s)]
    if errors:
        raise FileError("\n".join(errors))


def smallest_side(scale: int) -> int:
    """Return the least number of HR pixels, after cropping to a multiple of `scale`, of which SSIM can be computed."""
    return WINDOW_SIZE + 2 * scale


def describe_small_evaluation_image(path: Path, size: tuple[int, int], scale: int) -> str:
    """Return the error about an image of `size` (H, W) that is too small."""
    return f"{path}: {size[1]}×{size[0]} pixels, too small to be evaluated at scale {scale}; remove it from the set"


def check_depth(images: ImageSet, depth: int, option: str, advice: str = "") -> None:
    """Raise `UserError` with `advice` if the images have not the bits per channel of the protocol: `depth`, 8 or 16."""
    bits = count_bits(images.dtype)
    if bits != depth:
        names = ", ".join(path.name for path in images.hr_files[:3])
        raise UserError(
            f"{option}: expected images of {depth} bits per channel, the depth of the protocol (found {bits}: {names} …); "
            f"{advice or f'metric.depth={bits} evaluates them, under a protocol of another name'}"
        )


def check_frames(headers: Iterable[tuple[Path, Header]], option: str) -> None:
    """Raise `UserError` if a file holds further frames or pages: the set would silently be smaller than its files."""
    files = [f"{path.name} ({x.frames})" for path, x in headers if x.frames > 1]
    if files:
        raise UserError(
            f"{option}: expected one image in each file (found files of several frames or pages: {', '.join(files)}); only "
            "the first would be evaluated: save each frame as a PNG file"
        )


def report_further_frames(sets: Sequence[ImageSet]) -> None:
    """Print one line that names the files of which only the first frame is used."""
    files = dict(file for images in sets for file in images.multi_frame_files)
    if files:
        count = sum(header.frames - 1 for header in files.values())
        names = ", ".join(f"{path.name} ({header.frames - 1})" for path, header in files.items())
        print_note(f"left out: {count} further frame(s) or page(s), of {names}")
