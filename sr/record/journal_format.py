"""The lines of a journal: `crc32 json`, one entry each, appended and never changed.

An entry is a dict of one of these kinds (`time` in ms since 1970):

    {"open": {"id", "title", "experiment", "tags", "params"}, "time"}    the run begins
    {"again": attempt, "time"}                                           … is resumed, in another process
    {"points": {name: value}, "step", "time"}                            a value that is not finite is a word: "nan"
    {"image": key, "step", "time", "files": […]}                         files are relative to the run's folder
    {"file": path, "to": folder}   {"tag": key, "value"}   {"dataset": {…}}
    {"settled": step}                          a checkpoint of this step is on the disk
    {"back": step}                             points and images of later steps, before this line, are void
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
CONTROL = (b'{"settled"', b'{"back"', b'{"again"', b'{"status"')  # beginnings of entries that are about other entries
CRC_LENGTH = 9  # bytes before an entry: eight digits and a space

Entry = dict[str, Any]


class Placed(NamedTuple):
    """An entry with the position of its line in the file, in bytes."""

    start: int
    end: int  # after the line
    entry: Entry


def encode_entry(entry: Entry) -> bytes:
    """Return an entry as a line."""
    body = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_entries(path: Path, start: int = 0, only: tuple[bytes, ...] = ()) -> Iterator[Placed]:
    """Yield the entries from byte `start` on, or those that begin with one of `only`.

    An incomplete line at the end is skipped, and so is a damaged one.
    """
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            begin, end = end, end + len(line)
            entry = _decode_line(line) if not only or line.startswith(only, CRC_LENGTH) else None
            if entry is not None:
                yield Placed(begin, end, entry)


def find_end(path: Path) -> int:
    """Return the position after the last complete entry, in bytes."""
    return max((placed.end for placed in read_entries(path)), default=0)


def append_entries(path: Path, entries: list[Entry]) -> None:
    """Append entries to the journal of a run that is not running."""
    with path.open("r+b") as file:
        file.truncate(find_end(path))
        file.seek(0, os.SEEK_END)
        file.write(b"".join(map(encode_entry, entries)))
        file.flush()
        os.fsync(file.fileno())


def current_time_ms() -> int:
    """Return the time in ms since 1970."""
    return int(time.time() * 1000)


def drop_superseded(entries: Iterator[Placed]) -> list[Entry]:
    """Return all entries but those that a later `back` makes void."""
    valid: list[Entry] = []
    for placed in entries:
        entry = placed.entry
        if "back" in entry:
            valid = [earlier for earlier in valid if not is_later(earlier, entry["back"])]
        valid.append(entry)
    return valid


def is_later(entry: Entry, step: int) -> bool:
    """Return whether the entry has points or an image of a later step."""
    return ("points" in entry or "image" in entry) and entry["step"] > step


def list_points(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield name, step and value of all valid points of a run, in their order."""
    for entry in drop_superseded(read_entries(folder / JOURNAL_FILE)):
        for name, value in entry.get("points", {}).items():
            yield name, entry["step"], float(value)


def _decode_line(line: bytes) -> Entry | None:
    """Return the entry of a line, or None if the line is incomplete or damaged."""
    crc, _, body = line.partition(b" ")
    if not body.endswith(b"\n"):
        return None
    body = body[:-1]
    try:
        return json.loads(body) if int(crc, 16) == zlib.crc32(body) else None
    except ValueError:
        return None
