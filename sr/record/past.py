"""Read from a journal how its run was opened, and whether the folder was copied or moved since."""

from pathlib import Path
from typing import Any, NamedTuple

from sr.record.identity import read_identity
from sr.record.journal_format import JOURNAL_FILE, OPENING, read_entries

FOLDER_TAG = "sr.folder"
_TAG = (b'{"tag":"%s"' % FOLDER_TAG.encode(),)


class Past(NamedTuple):
    """A run before it is resumed; all fields are empty if it has not begun."""

    opening: dict[str, Any] | None = None  # of the last `open` entry: a copy that became a run of its own has two
    origin: Path | None = None  # the folder in which the run began or was last resumed, if that is another one
    is_copy: bool = False  # True: `origin` still holds the run; False: it was moved here
    has_entries: bool = False


def read_past(folder: Path, only: tuple[bytes, ...] = ()) -> Past:
    """Read a journal; `only` is as in `read_entries`, all of which is checked otherwise, with the errors named there."""
    opening, recorded, has_entries = None, None, False
    for _, _, entry in read_entries(folder / JOURNAL_FILE, only=only):
        has_entries = True
        if "open" in entry:
            opening = entry["open"]
            recorded = opening["tags"].get(FOLDER_TAG)
        elif entry.get("tag") == FOLDER_TAG:
            recorded = entry["value"]
    if opening is None or recorded is None or _is_same(Path(recorded), folder):
        return Past(opening, has_entries=has_entries)
    identity = read_identity(Path(recorded))
    return Past(opening, Path(recorded), identity is not None and identity.id == opening["id"], has_entries)


def find_origin(folder: Path) -> Path | None:
    """Return the folder that a run's folder is a copy of, if the run is still there; None if it is no copy.

    The journal of a copy belongs to that run until the copy is resumed, and so becomes a run of its own.
    """
    past = read_past(folder, OPENING + _TAG)
    return past.origin if past.is_copy else None


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths are of one folder, which may have several: a mount, or a link."""
    try:
        return one == other or one.samefile(other)
    except (OSError, ValueError):  # there is no such folder; a zero byte in it
        return False
