"""SHA-256 of files, remembered by path, size and times: an unchanged file is not read again, by any run."""

import contextlib
import hashlib
import os
import re
import threading
import time
from pathlib import Path

WHOLE = 946_684_800_000_000_000  # a file's date of change, 1 January 2000: who writes to it moves it, and is found out
SETTLED = 2.0  # seconds after which another change would show in a file's times, on any file system
NAME = re.compile(r"[0-9a-f]{64}")


class DigestCache:
    """One small file for each path in `folder`; without a folder, or one that can be written, nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def digest(self, file: Path, remember: bool = True) -> str:
        """Of the content of `file`, as it is now. Raises OSError where it cannot be read."""
        state = file.stat()
        now = f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
        row = self.folder / hashlib.sha256(str(file.absolute()).encode()).hexdigest() if self.folder else None
        name = _known(row, now) if row else None
        if name is None:
            with file.open("rb") as content:
                name = hashlib.file_digest(content, "sha256").hexdigest()
            if row and remember and time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
                with contextlib.suppress(OSError):  # then it is read again next time
                    write_atomic(row, f"{now} {name}".encode(), sync=False)  # half a row is seen to be one
        return name


def _known(row: Path, now: str) -> str | None:
    """The digest that `row` gives to a file in the state `now`."""
    try:
        state, _, name = row.read_text(encoding="ascii").rpartition(" ")
    except (OSError, ValueError):
        return None
    return name if state == now and NAME.fullmatch(name) else None


def write_atomic(path: Path, *parts: bytes, sync: bool = True) -> None:
    """Whole or not at all; with `sync`, it is on the disk before it gets its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            for data in parts:
                out.write(data)
            if sync:
                out.flush()
                os.fsync(out.fileno())
        os.utime(part, ns=(time.time_ns(), WHOLE))
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
