"""Find all that is wrong with the files of a set in one go, so that the user need not try again after each correction."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sr.data.image_part import Image, find_path, read_image_levels
from sr.runtime.error import UserError
from sr.runtime.terminal import ProgressBar


class FileError(UserError):
    """Something is wrong with files of a set: one line for each of them."""


CheckSize = Callable[[Path, tuple[int, int]], str]  # of a file and its size (H, W): the error, or an empty string


def complete_error(first: FileError, checks: Mapping[Image, CheckSize]) -> FileError:
    """Return an error that lists `first`, and the errors of all files: each is decoded, and its size is checked."""

    def find_error(image: Image) -> str:
        try:
            size = read_image_levels(image).shape[1:]
        except UserError as error:
            return str(error)
        return checks[image](find_path(image), tuple(size))

    with ThreadPoolExecutor() as pool:
        bar = ProgressBar(
            pool.map(find_error, checks), total=len(checks), desc="checking all files", unit="image", delay=2
        )
        errors = [line for message in bar for line in message.splitlines()]
    errors = list(dict.fromkeys(errors))  # one line for all parts of a file
    others = [line for line in str(first).splitlines() if line not in errors]
    return FileError("\n".join([*others, *errors]))
