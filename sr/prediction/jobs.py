"""Find the files that `input` names, and the file that each of them is upscaled into."""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sr.image.listing import FolderListing, is_image_name, list_images
from sr.runtime.error import UserError

MAX_NAMES = 5  # of files in a message
SUFFIX = ".png"  # of the files that are written


class Job(NamedTuple):
    """An image file, and the file that its result is written to."""

    source: Path
    target: Path


def list_sources(words: str | Sequence[str]) -> list[Path]:
    """Return the image files that `input` names: a file, a folder, a pattern such as `*.png`, or a list of these.

    Of a folder or a pattern these are the images, sorted by name; a file is one whatever its name says. Each file is
    listed once.
    """
    words = words if isinstance(words, list | tuple) else [words]
    if not words:
        raise UserError("input=[]: expected an image file, a folder, a pattern such as '*.png', or a list of these")
    return list(dict.fromkeys(path for word in words for path in _find_files(word)))


def resolve_output(output: str, count: int) -> tuple[Path, bool]:
    """Return the path `output`, and whether it names a file; nothing is created. `count`: of images to be written.

    A name such as `big.png` is a file, unless it is a folder already or ends with a slash.
    """
    path = Path(output).expanduser()
    if os.path.isdir(path) or output.endswith(("/", os.sep)) or not is_image_name(path):  # noqa: PTH112
        if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112
            raise UserError(
                f"output={output}: expected a folder, or a .png file for a single image (found another file)"
            )
        return path, False
    if path.suffix.lower() != SUFFIX:
        raise UserError(f"output={output}: expected a .png file or a folder; only PNG files are written")
    if count > 1:
        raise UserError(
            f"output={output}: expected a folder for {count} images (found the name of a file); a folder of this name "
            f"is output={output}/"
        )
    return path, True


def list_jobs(sources: Sequence[Path], output: Path, is_file: bool, scale: int) -> list[Job]:
    """Return each source with its target; raise if two sources would get one target, or a target is its own source."""
    targets: dict[Path, Path] = {}
    for source in sources:
        target = output if is_file else output / f"{source.stem}_x{scale}{SUFFIX}"
        if target in targets:
            first, second = targets[target], source
            names = (first.name, second.name) if first.parent == second.parent else (first, second)
            raise UserError(f"{names[0]} and {names[1]} would both become {target.name}: rename one")
        if target.name == source.name and target.resolve() == source.resolve():
            raise UserError(f"output={output}: expected another file than input={source}; choose another name")
        targets[target] = source
    return [Job(source, target) for target, source in targets.items()]


def require_new(jobs: Sequence[Job], output: Path) -> None:
    """Raise if a target exists."""
    existing = [job.target.name for job in jobs if os.path.lexists(job.target)]
    if existing:
        more = f" and {len(existing) - MAX_NAMES} more" if len(existing) > MAX_NAMES else ""
        verb, them = ("exists", "it") if len(existing) == 1 else ("exist", "them")
        names = ", ".join(existing[:MAX_NAMES])
        raise UserError(f"output={output}: {names}{more} {verb} already; overwrite=true replaces {them}")


def create_folder(folder: Path) -> None:
    """Create the folder of the results, and raise if nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={folder}: cannot create this folder ({error.strerror or error})") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"output={folder}: expected a folder that may be written to (found one that is read-only)")


def _find_files(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises if a name is too long
        return list_images(path, "input")
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(word):
        raise UserError(f"input={word}: there is no such file or folder")
    return _match_pattern(word, path)


def _match_pattern(word: str, path: Path) -> list[Path]:
    """Return the images that match the pattern `path`, sorted by name, and print a note of what else matches."""
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    files = [match for match in matches if not match.is_dir()]
    folders = [] if "**" in path.parts else [match for match in matches if match.is_dir()]  # ** matches what is in them
    listing = FolderListing(
        [file for file in files if is_image_name(file)], [file for file in files if not is_image_name(file)], folders
    )
    left_out = listing.describe_left_out()
    if not listing.images:
        raise UserError(f"input={word}: no image matches this pattern{f' ({left_out})' * bool(left_out)}")
    if left_out:
        print(f"note: input={word}: {left_out}", file=sys.stderr)
    return listing.images
