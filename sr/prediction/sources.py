"""Find the image files that `input` names (files, folders, patterns, list files), and what else lies there with the reason."""

import contextlib
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from sr.image.formats import identify_kind
from sr.image.listing import is_image_file
from sr.runtime.error import UserError

STDIN = "-"
LIST_MARK = "@"  # of a word that names a list file
MAX_NAMES, MAX_REASONS = 3, 5  # in a message
EXPECTED = (
    "an image file, a folder, a pattern such as '*.png', a list file @FILE, - (standard input), or a list of these"
)


class InputImage(NamedTuple):
    """An image file that is upscaled."""

    path: Path
    folder: PurePath = PurePath()  # of its result, below the folder `output`
    is_named: bool = True  # typed or listed by its name; False: found in a folder or by a pattern


class LeftOut(NamedTuple):
    """A file or folder that was found and is not read."""

    path: Path
    reason: str


class Sources(NamedTuple):
    """The images that `input` names, each once, and what was left out."""

    images: list[InputImage]
    left_out: list[LeftOut]
    folder: Path | None  # that holds all of them: typed, or the folder of what is typed; None on several drives


def is_address(word: str) -> bool:
    """Return True for `s3://bucket/photos`, False for a path."""
    return "://" in word


def find_sources(words: str | Sequence[str], recursive: bool = True, output: Path | None = None) -> Sources:
    """Find the images that `input` names.

    Args:
        words: a file (an image whatever its name says), a folder, a pattern, a list file `@FILE`, or a list of these.
        recursive: subfolders of a folder are read as well; links to folders are followed, each folder is read once.
        output: the folder of the results, which is not read if it lies inside a folder of `input`.

    Returns:
        The images in the order of `words`, those of a folder or a pattern sorted by path. Hidden files are none of them.

    Raises:
        UserError: something does not exist, or holds no image.
    """
    words = words if isinstance(words, list | tuple) else [words]
    if not words:
        raise UserError(f"input=[]: expected {EXPECTED}")
    if STDIN in words:
        raise UserError(f"input=[{','.join(words)}]: expected - (standard input) alone; type input=-")
    finder = _Finder(recursive, output)
    for word in words:
        if word.startswith(LIST_MARK):
            finder.add_list(word)
        else:
            finder.add_word(word, Path(word).expanduser(), PurePath(), f"input={word}")
    return Sources(list(finder.images.values()), list(finder.left_out.values()), finder.find_folder())


def describe_left_out(left_out: Sequence[LeftOut]) -> str:
    """Return `4 left out: a.txt, b.txt and 1 more (no image); c.mp4 (video is not read: …)`, or an empty string."""
    if not left_out:
        return ""
    names: dict[str, list[str]] = {}
    for path, reason in left_out:
        names.setdefault(reason, []).append(format_name(path.name))
    groups = [f"{format_names(files, MAX_NAMES)} ({reason})" for reason, files in names.items()]
    more = f"; and for {len(groups) - MAX_REASONS} other reasons" if len(groups) > MAX_REASONS else ""
    return f"{len(left_out)} left out: {'; '.join(groups[:MAX_REASONS])}{more}"


def format_names(names: Sequence[str], limit: int) -> str:
    """Return the first names, and how many there are more."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def format_name(path: str | os.PathLike) -> str:
    """Return a path as one line that can be printed: control characters and bytes that are no UTF-8 are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in os.fspath(path))


class _Finder:
    """The images found so far."""

    def __init__(self, recursive: bool, output: Path | None) -> None:
        self.recursive, self.output = recursive, output and os.path.realpath(output)
        self.images: dict[tuple[str, str], InputImage] = {}  # by their real folder and name
        self.left_out: dict[Path, LeftOut] = {}
        self._real_folders: dict[Path, str] = {}
        self._folders: list[str] = []

    def find_folder(self) -> Path | None:
        """Return the folder that holds everything that was typed."""
        with contextlib.suppress(ValueError):  # on Windows: several drives
            return Path(os.path.commonpath(self._folders))
        return None

    def add_list(self, word: str) -> None:
        """Add what the lines of a list file name, relative to its folder; results have the folders that are written there."""
        name = word.removeprefix(LIST_MARK)
        path = Path(name).expanduser()
        lines = list(_read_lines(word, None if name == STDIN else path))
        base = Path() if name == STDIN else path.parent
        missing = [(k, line) for k, line in lines if not _exists(base / Path(line).expanduser())]
        missing = [(k, line) for k, line in missing if not glob.has_magic(line)]
        if missing:
            number, line = missing[0]
            more = f", nor {len(missing) - 1} more" * (len(missing) > 1)
            raise UserError(
                f"input={word}: there is no such file or folder as line {number} names: {format_name(line)}{more}"
            )
        for number, line in lines:
            entry = Path(line).expanduser()
            is_below = not entry.is_absolute() and ".." not in entry.parts
            self.add_word(line, base / entry, entry if is_below else None, f"input={word}: line {number}: {line}")
        if not lines:
            raise UserError(f"input={word}: expected the path of an image on each line (found none)")

    def add_word(self, word: str, path: Path, below: PurePath | None, label: str) -> None:
        """Add what one word names. `below` is its path below the folder of a list file, where results go as well."""
        in_list = below is not None and bool(below.parts)
        if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises if a name is too long
            self._add_folder(path, below if in_list else PurePath(), label)
        elif os.path.lexists(path):
            self._folders.append(os.path.abspath(path.parent))  # noqa: PTH100  a link to a folder stays one
            self._add(InputImage(path, below.parent if in_list else PurePath()))
        elif glob.has_magic(word):
            self._add_pattern(path, label)
        else:
            raise UserError(f"{label}: there is no such file or folder")

    def _add_folder(self, top: Path, below: PurePath, label: str) -> None:
        self._folders.append(os.path.abspath(top))  # noqa: PTH100
        files = sorted(self._walk(top, label))
        images = [file for file in files if is_image_file(file)]
        found = set(images)
        left_out = [LeftOut(file, _explain(file)) for file in files if file not in found]
        self.left_out |= {entry.path: entry for entry in left_out}
        if not images:
            inside = [entry for path, entry in self.left_out.items() if path.is_relative_to(top)]
            raise UserError(f"{label}: no images in this folder{_append(describe_left_out(inside))}")
        for file in images:
            self._add(InputImage(file, below / file.relative_to(top).parent, is_named=False))

    def _add_pattern(self, pattern: Path, label: str) -> None:
        """Add the images that match a pattern; their results have the folders from its first wildcard on."""
        matches = [Path(match) for match in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
        base = Path(*_take_until_magic(pattern))
        self._folders.append(os.path.abspath(base))  # noqa: PTH100
        images, left_out = [], []
        for match in sorted(matches, key=lambda path: (len(path.parts), path)):
            if match.is_dir():
                if "**" not in pattern.parts:  # ** matches what is in them
                    left_out.append(LeftOut(match, "a folder: ** in a pattern matches what is in it"))
            elif is_image_file(match):
                images.append(match)
            else:
                left_out.append(LeftOut(match, _explain(match)))
        if not images:
            raise UserError(f"{label}: no image matches this pattern{_append(describe_left_out(left_out))}")
        self.left_out |= {entry.path: entry for entry in left_out}
        unique = {self._identify(path): path for path in reversed(images)}  # through links: by the shortest path
        for path in sorted(unique.values()):
            self._add(InputImage(path, path.relative_to(base).parent, is_named=False))

    def _walk(self, top: Path, label: str) -> Iterator[Path]:
        """Yield the files in and below a folder, without hidden ones; links to folders are followed last."""
        folders, links, visited = [top], [], set()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            real = os.path.realpath(folder)
            if real in visited:
                self.left_out[folder] = LeftOut(folder, "a link to a folder that is read already")
                continue
            visited.add(real)
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208
            except OSError as error:
                if folder == top:
                    raise UserError(f"{label}: cannot be read ({error.strerror or error})") from None
                self.left_out[folder] = LeftOut(folder, f"cannot be read: {error.strerror or error}")
                continue
            for path in (folder / name for name in names if not name.startswith(".")):
                if not os.path.isdir(path):  # noqa: PTH112
                    yield path
                elif not self.recursive:
                    self.left_out[path] = LeftOut(path, "a folder: recursive=true reads what is in it")
                elif os.path.realpath(path) != self.output:
                    (links if path.is_symlink() else folders).append(path)

    def _add(self, source: InputImage) -> None:
        self.images.setdefault(self._identify(source.path), source)

    def _identify(self, path: Path) -> tuple[str, str]:
        """Return the real folder of a file and its name: a link to a file is another image, through a link it is the same."""
        folder = path.parent
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return self._real_folders[folder], path.name


def _read_lines(word: str, path: Path | None) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list file with their numbers, without blank ones and comments; None: of standard input.

    Names that hold a line feed are separated by null characters, as `find -print0` does; then there are no comments.
    """
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise UserError(f"input={word}: this list of files cannot be read ({error.strerror or error})") from None
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    if "\0" in text:
        yield from ((number, name) for number, name in enumerate(text.split("\0"), 1) if name)
        return
    for number, line in enumerate(text.split("\n"), 1):
        name = line.removesuffix("\r")
        if name.strip() and not name.startswith("#"):
            yield number, name


def _explain(path: Path) -> str:
    """Return why a file without the suffix of an image is left out."""
    kind = identify_kind(path)
    if kind is None:
        return "no image"
    return f"{kind.name} by its content: rename it" if kind.is_read else f"{kind.name} is not read: {kind.advice}"


def _take_until_magic(pattern: Path) -> Iterator[str]:
    for part in pattern.parts:
        if glob.has_magic(part):
            return
        yield part


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _append(text: str) -> str:
    return f" ({text})" if text else ""
