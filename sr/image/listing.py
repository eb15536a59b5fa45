"""List the images of a folder, and name all that is left out: files of other formats, and subfolders."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import filterfalse, islice
from pathlib import Path
from typing import NamedTuple

from sr.image.formats import FORMATS, KINDS_BY_SUFFIX, SUFFIXES, VIDEOS, FileKind, identify_kind, read_suffix
from sr.runtime.error import UserError
from sr.runtime.terminal import print_note

MAX_NAMES = 6  # of kinds or files in a message
MAX_COUNTED_FILES = 100_000  # of subfolders


class FolderListing(NamedTuple):
    """The entries of a folder, sorted by name, without hidden ones: `images` are read, everything else is left out."""

    images: list[Path]
    others: list[Path]  # files that are not read: their suffix is none of SUFFIXES
    folders: list[Path]

    def describe_left_out(self) -> str:
        """Return `left out: 7 of 9 files (4 .avif, 3 .gif), 1 folder with 31 images`, or an empty string."""
        parts = []
        if self.others:
            count = len(self.images) + len(self.others)
            parts.append(f"{len(self.others)} of {_format_count(count, 'file')} ({_format_kinds(self.others)})")
        if self.folders:
            parts.append(f"{_format_count(len(self.folders), 'folder')} with {describe_images(self.folders)}")
        return f"left out: {', '.join(parts)}" if parts else ""

    def find_unread_kinds(self) -> dict[Path, FileKind | None]:
        """Return the kind of each file that is left out; None if it is unknown."""
        return {path: identify_kind(path) for path in self.others}


def list_folder(folder: Path, key: str) -> FolderListing:
    """List the entries directly in `folder`. `key` is the option that names it, for the error messages.

    Raises `UserError` if there is no such folder, or no image in it.
    """
    if not folder.exists():
        raise UserError(f"{key}={folder}: there is no such folder")
    if not folder.is_dir():
        raise UserError(f"{key}={folder}: expected a folder of images, this is a file")
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        folders = [path for path in entries if path.is_dir()]
    except OSError as error:
        raise UserError(f"{key}={folder}: cannot be read ({error.strerror or error})") from None
    names = set(folders)
    files = [path for path in entries if path not in names]
    listing = FolderListing(list(filter(is_image_name, files)), list(filterfalse(is_image_name, files)), folders)
    if not listing.images:
        raise UserError(f"{key}={folder}: {_explain_empty(listing)}")
    return listing


def list_images(folder: Path, key: str, is_complete: bool = False) -> list[Path]:
    """Return the images directly in `folder`, sorted by name, and print a note of what is left out.

    `key` is the option that names the folder. With `is_complete`, as an evaluation set has to be, a left-out file that
    holds images is an error: a mean over fewer images would stand under the set's name.
    """
    listing = list_folder(folder, key)
    kinds = listing.find_unread_kinds() if is_complete else {}
    unread = [f"{path.name} ({kind.name})" for path, kind in kinds.items() if kind and kind.has_images]
    if unread:
        raise UserError(
            f"{key}={folder}: expected a set of images that are all read ({len(unread)} of "
            f"{len(unread) + len(listing.images)} are not: {_shorten(unread)}); convert them to PNG, or remove them"
        )
    left_out = listing.describe_left_out()
    if left_out:
        print_note(f"{key}={folder}: {left_out}")
    return listing.images


def is_image_name(path: Path) -> bool:
    """Return whether a file has the suffix of a format of images that is read."""
    return read_suffix(path) in SUFFIXES


def is_image_file(path: Path) -> bool:
    """Return whether a file has the suffix of an image or a video, or is DICOM, which often has none, or a number."""
    if is_image_name(path) or KINDS_BY_SUFFIX.get(read_suffix(path)) in VIDEOS:
        return True
    kind = None if read_suffix(path) in KINDS_BY_SUFFIX else identify_kind(path)
    return kind is not None and kind.name == "DICOM"


def _explain_empty(listing: FolderListing) -> str:
    reason = f"no images in this folder (looked for {', '.join(FORMATS)})"
    left_out = listing.describe_left_out()
    kinds = {kind.name: kind for kind in listing.find_unread_kinds().values() if kind}
    advice = [f"sr does not read {kind.name} yet: {kind.advice}" for kind in kinds.values() if not kind.is_read]
    advice += ["rename files of a format that is read"] * any(
        k.is_read and k.name not in VIDEOS for k in kinds.values()
    )
    advice += ["a video is no set of images: save its frames as PNG"] * any(name in VIDEOS for name in kinds)
    advice += ["name the subfolder that holds the images"] * (describe_images(listing.folders) != "0 images")
    return "; ".join([reason, *([left_out] if left_out else []), *advice[:3]])


def _format_kinds(files: Sequence[Path]) -> str:
    """Return `4 .avif, 3 .gif, 1 DICOM`: by suffix, and without one by content."""
    counts = Counter(read_suffix(path) or _name_content(path) for path in files)
    names = [f"{count} {name}" for name, count in counts.most_common()]
    return _shorten(names)


def _name_content(path: Path) -> str:
    kind = identify_kind(path)
    return kind.name if kind else "without suffix"


def describe_images(folders: Sequence[Path]) -> str:
    """Return `31 images`: the number of files in and below `folders` that, by their suffix, hold images.

    Of very many files only the first ones are looked at: `more than 31 images`.
    """
    names = list(islice(_iterate_names(folders), MAX_COUNTED_FILES + 1))
    count = sum(read_suffix(Path(name)) in KINDS_BY_SUFFIX for name in names)
    return f"{'more than ' * (len(names) > MAX_COUNTED_FILES)}{_format_count(count, 'image')}"


def _iterate_names(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the names of all files in and below `folders`, without hidden ones."""
    for folder in folders:
        for _, subfolders, names in os.walk(folder):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            yield from (name for name in names if not name.startswith("."))


def _format_count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
