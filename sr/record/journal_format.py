"""The lines of a journal: `crc32 json`, one entry each, appended and never changed.

An entry is a dict of one of these kinds (`time` in ms since 1970):

    {"open": {"id", "title", "experiment", "tags", "params"}, "time"}    the run begins
    {"again": attempt, "time"}                                           … is resumed, in another process
    {"points": {name: value}, "step", "time"}                            a value that is not finite is a word: "nan"
    {"image": key, "step", "time", "files": [path]}                      relative to the run's folder
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
from typing import Any, NamedTuple, NoReturn

from sr.record.journal_check import find_problem
from sr.record.run_file import open_file
from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords

JOURNAL_FILE = "journal.jsonl"
CONTROL = (b'{"settled"', b'{"back"', b'{"again"', b'{"status"')  # beginnings of entries that are about other entries
OPENING = (b'{"open"',)  # of entries that begin a run
CRC_LENGTH = 9  # bytes before an entry: eight digits and a space

Entry = dict[str, Any]


class JournalError(UserError):
    """A complete and undamaged line of a journal holds what sr does not write."""


class Placed(NamedTuple):
    """An entry with the position of its line in the file, in bytes."""

    start: int
    end: int  # after the line
    entry: Entry


def encode_entry(entry: Entry) -> bytes:
    """Return an entry as a line, with passwords in addresses masked.

    A lone surrogate, as in a file name that is not UTF-8, becomes JSON's escape of it.
    """
    text = mask_passwords(json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    body = text.encode(errors="backslashreplace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_entries(path: Path, start: int = 0, only: tuple[bytes, ...] = ()) -> Iterator[Placed]:
    """Yield the entries from byte `start` on, or those that begin with one of `only`; none if there is no such file.

    An incomplete line at the end is skipped, and so is one whose checksum is wrong. Raises `JournalError` for a line with
    the right checksum that no sr has written, and `IrregularFileError` if the file is a link.
    """
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    end = start
    with os.fdopen(descriptor, "rb") as file:
        file.seek(start)
        for line in file:
            begin, end = end, end + len(line)
            body = _check_line(line) if not only or line.startswith(only, CRC_LENGTH) else None
            if body is not None:
                yield Placed(begin, end, _decode_body(body, path, begin))


def find_end(path: Path) -> int:
    """Return the position after the last complete entry, in bytes."""
    return max((placed.end for placed in read_entries(path)), default=0)


def append_entries(path: Path, entries: list[Entry]) -> None:
    """Append entries to the journal of a run that is not running."""
    end = find_end(path)
    with os.fdopen(open_file(path, os.O_RDWR), "r+b") as file:
        file.truncate(end)
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


def _check_line(line: bytes) -> bytes | None:
    """Return the entry of a line as JSON, or None if the line is incomplete or damaged."""
    crc, _, body = line.partition(b" ")
    if not body.endswith(b"\n"):
        return None
    body = body[:-1]
    try:
        return body if int(crc, 16) == zlib.crc32(body) else None
    except ValueError:
        return None


def _decode_body(body: bytes, path: Path, start: int) -> Entry:
    """Return the entry of the line at byte `start`; raise `JournalError` if it is none."""
    try:
        entry = json.loads(body, parse_constant=_refuse_constant)
        problem = find_problem(entry)
    except RecursionError:
        problem = "expected an object (found lists or objects nested too deeply)"
    except ValueError as error:
        problem = f"expected JSON ({str(error).partition(';')[0]})"
    if problem is None:
        return entry
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        number = file.read(start).count(b"\n") + 1
    raise JournalError(
        f"{path}, line {number}: {problem}; sr has not written this line: if the rest of the file is to be used, remove it"
    )


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")
