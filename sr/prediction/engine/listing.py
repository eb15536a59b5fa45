"""List what `engine=ray` upscales: files of this machine as all engines find them, or those below an address."""

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from sr.image.formats import KINDS_BY_SUFFIX, SUFFIXES, read_suffix
from sr.prediction import manifest
from sr.prediction.engine.address import Store, describe_version, open_store
from sr.prediction.sources import describe_left_out, find_sources, is_address
from sr.runtime.error import UserError
from sr.runtime.terminal import format_count, print_note


class ListedFile(NamedTuple):
    """An image file: its address, the folder of its result below the output, and what identifies its content."""

    address: str
    folder: str
    version: str

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        name = posixpath.basename(self.address)
        return name.removesuffix(read_suffix(PurePath(name)))


def list_files(words: str | Sequence[str], recursive: bool, output: Store) -> list[ListedFile]:
    """Return the files that `input` names: paths, or addresses of files and folders.

    Raises `UserError` if something does not exist or holds no image, or if two results might have one name.
    """
    words = list(words) if isinstance(words, list | tuple) else [words]
    addresses, paths = [w for w in words if is_address(w)], [w for w in words if not is_address(w)]
    files = list(_list_local(paths, recursive, output)) if paths else []
    for address in addresses:
        files += _list_address(address, recursive, output)
    if output.is_local and any(posixpath.dirname(file.address) == output.path for file in files):
        raise UserError(f"output={output.path}: expected another folder than that of the images, with engine=ray")
    _require_different(files)
    return files


def _list_local(words: Sequence[str], recursive: bool, output: Store) -> Iterator[ListedFile]:
    sources = find_sources(words, recursive, Path(output.path) if output.is_local else None)
    if sources.left_out:
        print_note(f"input: {describe_left_out(sources.left_out)}")
    for image in sources.images:
        stat = image.path.stat() if image.path.exists() else None
        version = manifest.describe_version(stat) if stat else ""  # a link that leads nowhere: its worker reports it
        folder = image.folder.as_posix()
        yield ListedFile(os.path.abspath(image.path), "" if folder == "." else folder, version)  # noqa: PTH100


def _list_address(address: str, recursive: bool, output: Store) -> Iterator[ListedFile]:
    """Yield the files at or below an address that have the suffix of an image, without hidden ones and the results."""
    top = open_store(address, "input")
    try:
        depth = None if recursive else 1
        found: Mapping[str, Any] = top.system.find(top.path, maxdepth=depth, detail=True)
    except Exception as error:  # each store has its own
        raise UserError(f"input={address}: cannot be listed ({type(error).__name__}: {error})") from None
    left_out, count = 0, 0
    for path, entry in sorted(found.items()):
        below = posixpath.relpath(path, top.path)
        is_hidden = any(part.startswith(".") for part in below.split("/")) and below != "."
        if is_hidden or (type(top.system) is type(output.system) and path.startswith(f"{output.path}/")):
            continue
        suffix = read_suffix(PurePath(path))
        if suffix not in SUFFIXES or KINDS_BY_SUFFIX[suffix] == "DICOM":  # whose range is that of its series
            left_out += 1
            continue
        count += 1
        folder = posixpath.dirname(below) if below != "." else ""
        yield ListedFile(top.system.unstrip_protocol(path), folder, describe_version(entry))
    if left_out:
        print_note(f"input={address}: {format_count(left_out, 'file')} left out (no suffix of an image, or DICOM)")
    if not count:
        raise UserError(f"input={address}: expected images, or the address of one (found none)")


def _require_different(files: Sequence[ListedFile]) -> None:
    """Raise if the results of two files might have one name: of one stem, whatever their suffixes are."""
    seen: dict[str, str] = {}
    for file in files:
        key = posixpath.join(file.folder, file.stem).casefold()
        if key in seen:
            raise UserError(
                f"{seen[key]} and {file.address}: expected different names, without their suffixes, for their results; "
                "rename one, or upscale them separately"
            )
        seen[key] = file.address
