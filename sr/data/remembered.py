"""Remember properties of files for later runs, in one SQLite database: digests, headers, perceptual hashes.

It is only ever a saving of time: where it is missing, damaged, locked or cannot be written, everything is computed again.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

FILE = "remembered.db"
TIMEOUT = 5.0  # seconds to wait for another process that writes
KEYS_PER_QUERY = 500  # SQLite's own limit is 999 in older versions
TABLE = "CREATE TABLE IF NOT EXISTS item (kind, key, value, PRIMARY KEY (kind, key)) WITHOUT ROWID"
Value = str | bytes


class Remembered:
    """Values by kind and key in `folder`; without a folder nothing is remembered. A connection lasts for one call, so that
    threads and forked processes may share an object."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder.expanduser() / FILE if folder else None

    def find(self, kind: str, keys: Iterable[str]) -> dict[str, Value]:
        """Return the values of those keys that have one."""
        keys = list(dict.fromkeys(keys))
        found: dict[str, Value] = {}

        def select(connection: sqlite3.Connection) -> None:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                part = list(map(_encode, keys[start : start + KEYS_PER_QUERY]))
                marks = ",".join("?" * len(part))
                query = f"SELECT key, value FROM item WHERE kind = ? AND key IN ({marks})"  # noqa: S608  only marks
                for key, value in connection.execute(query, [kind, *part]):
                    found[key.decode("utf-8", "surrogateescape")] = value

        if self.path is not None and keys and self.path.exists():
            self._use_database(select)
        return found

    def store(self, kind: str, values: Mapping[str, Value]) -> None:
        """Store values; those that the keys had are replaced."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA synchronous = OFF")  # what a crash of the system damages is computed again
            connection.execute(TABLE)
            rows = ((kind, _encode(key), value) for key, value in values.items())
            connection.executemany("INSERT OR REPLACE INTO item VALUES (?, ?, ?)", rows)
            connection.commit()

        if self.path is not None and values:
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._use_database(insert)

    def _use_database(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Call `work` with a connection; an error of the database ends it, and a damaged database is removed."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=TIMEOUT)) as connection:
                work(connection)
        except sqlite3.OperationalError:
            return  # locked, read-only, full, or without a table
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self.path.unlink()


def _encode(key: str) -> bytes:
    """Return a key as SQLite stores it: paths may hold bytes that are no UTF-8."""
    return key.encode("utf-8", "surrogateescape")
