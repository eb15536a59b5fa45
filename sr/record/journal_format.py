"""The lines of a journal: `crc32 json`, one entry each, appended and never changed.

An entry is a dict of one of these kinds (`time` in ms since 1970):

    {"open": {"id", "title", "experiment", "tags", "params"}, "time"}    the run begins
    {"again": attempt, "time"}                                           … goes on, in another process
    {"points": {name: value}, "step", "time"}                            a value that is not finite is a word: "nan"
    {"image": key, "step", "time", "files": […]}                         files are relative to the run's folder
    {"file": path, "to": folder}   {"tag": key, "value"}   {"dataset": {…}}
    {"settled": step}                          a checkpoint of this step is on the disk
    {"back": step}                             points and images of later steps, before this line, are superseded
    {"status": "FINISHED", "time"}
"""

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

JOURNAL_FILE = "journal.jsonl"

Entry = dict[str, Any]


CONTROL = (b'{"settled"', b'{"back"', b'{"again"', b'{"status"')  # how lines begin, after 9 bytes, that bear on others


class Placed(NamedTuple):
    """An entry, the first byte of its line and the first after it."""

    start: int
    end: int
    entry: Entry


def encode_entry(entry: Entry) -> bytes:
    """A whole line."""
    body = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_entries(path: Path, start: int = 0, only: tuple[bytes, ...] = ()) -> Iterator[Placed]:
    """All whole entries from the byte `start` on, or those that begin with one of `only`. What was torn off at the end is
    left out, and so is a damaged line."""
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            begin, end = end, end + len(line)
            entry = _decoded(line) if not only or line.startswith(only, 9) else None
            if entry is not None:
                yield Placed(begin, end, entry)


def _decoded(line: bytes) -> Entry | None:
    crc, _, body = line.partition(b" ")
    if not body.endswith(b"\n"):
        return None
    body = body[:-1]
    try:
        return json.loads(body) if int(crc, 16) == zlib.crc32(body) else None
    except ValueError:
        return None


def find_end(path: Path) -> int:
    """Where the last whole entry ends: what follows was torn off."""
    return max((placed.end for placed in read_entries(path)), default=0)


def append_entries(path: Path, entries: list[Entry]) -> None:
    """To the journal of a run that is not running."""
    with path.open("r+b") as file:
        file.truncate(find_end(path))
        file.seek(0, os.SEEK_END)
        file.write(b"".join(map(encode_entry, entries)))
        file.flush()
        os.fsync(file.fileno())


def current_time_ms() -> int:
    """ms since 1970."""
    return int(time.time() * 1000)


def drop_superseded(entries: Iterator[Placed]) -> list[Entry]:
    """All entries but those that a later `back` supersedes."""
    found: list[Entry] = []
    for placed in entries:
        entry = placed.entry
        if "back" in entry:
            found = [kept for kept in found if not is_later(kept, entry["back"])]
        found.append(entry)
    return found


def is_later(entry: Entry, step: int) -> bool:
    """Whether it is a point or an image of a later step."""
    return ("points" in entry or "image" in entry) and entry["step"] > step


def list_points(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Name, step and value of all points of a run that stand, in their order."""
    for entry in drop_superseded(read_entries(folder / JOURNAL_FILE)):
        for name, value in entry.get("points", {}).items():
            yield name, entry["step"], float(value)
