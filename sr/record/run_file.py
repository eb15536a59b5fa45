"""Read and write files of a run's folder, which somebody else may have made: never through a link to a file elsewhere.

A name in such a folder may be a symbolic link, a hard link, a pipe or a device. Small files are written under a temporary
name and renamed, which replaces a link and not what it leads to. The journal, which grows in place, must be a regular file.
"""

import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from sr.record.checkpoint_files import PART_SUFFIX
from sr.runtime.error import UserError

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR
# Without O_NONBLOCK a pipe that nobody writes to would be waited for. Windows has none of the first two.
_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class IrregularFileError(UserError):
    """A file of a run's folder is a link, a pipe, a device or a folder."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path}: expected a regular file or folder of this run alone (found {found}); nothing is read or written "
            f"there: replace it by a copy of its content, or remove it"
        )


def open_file(path: Path, flags: int) -> int:
    """Open a regular file with flags of `os.open`, and return its descriptor.

    Raises `IrregularFileError` if it is anything else; for writing also if it has a second name, a hard link.
    """
    try:
        descriptor = os.open(path, flags | _SAFE_FLAGS, 0o666)
    except OSError:
        check_no_link(path)
        raise
    state = os.fstat(descriptor)
    is_shared = bool(flags & _WRITE_FLAGS) and state.st_nlink > 1
    if stat.S_ISREG(state.st_mode) and not is_shared:
        return descriptor
    os.close(descriptor)
    raise IrregularFileError(path, f"a hard link, with {state.st_nlink} names" if is_shared else "no regular file")


def check_no_link(path: Path) -> None:
    """Raise `IrregularFileError` if a path is a symbolic link."""
    if path.is_symlink():
        raise IrregularFileError(path, f"a symbolic link to {path.readlink()}")


def check_writable(path: Path) -> None:
    """Raise what `open_file` raises when it opens an existing file for writing."""
    os.close(open_file(path, os.O_RDWR))


def read_text(path: Path) -> str:
    """Return the content of a regular file."""
    with os.fdopen(open_file(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def create_file(path: Path) -> BinaryIO:
    """Open a new file for writing; a file or link of this name is removed before."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def create_folder(folder: Path, root: Path) -> None:
    """Create a folder below `root` and those between them; raise `IrregularFileError` if one of them is a link."""
    names = folder.relative_to(root).parts
    for depth in range(len(names)):
        part = root.joinpath(*names[: depth + 1])
        check_no_link(part)
        part.mkdir(exist_ok=True)


def write_atomic(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Write a file so that the old one or the new one exists, whatever happens; with `sync` it is on the disk as well.

    A lone surrogate, as in a file name that is not UTF-8, is written as JSON and YAML escape it: `\\udc80`.
    """
    data = content if isinstance(content, bytes) else content.encode(errors="backslashreplace")
    part = path.with_name(f".{os.getpid()}-{threading.get_ident()}{PART_SUFFIX}")  # short: the name may be a long one
    try:
        with create_file(part) as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
