"""SHA-256 of files, remembered by path, size and times: a file that did not change is not read again, by any run."""

import contextlib
import hashlib
import os
import re
import threading
import time
from pathlib import Path

# The modification time, 1 January 2000, of a complete file: any later write changes it, and so is noticed.
VERIFIED_MTIME = 946_684_800_000_000_000  # ns
SETTLE_SECONDS = 2.0  # age of a change after which another one would show in the file's times, on any file system
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


class DigestCache:
    """One small file in `folder` for each path. Without a folder that can be written, nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def digest(self, file: Path, remember: bool = True) -> str:
        """Return the digest of the content of `file`, as it is now. Raises OSError if it cannot be read."""
        stat = file.stat()
        state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        record = self.folder / hashlib.sha256(os.fsencode(file.absolute())).hexdigest() if self.folder else None
        digest = _read_record(record, state) if record else None
        if digest is None:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if record and remember and time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLE_SECONDS:
                with contextlib.suppress(OSError):  # then the file is read again next time
                    write_atomic(record, f"{state} {digest}".encode(), sync=False)  # a cut-off record is recognized
        return digest


def _read_record(record: Path, state: str) -> str | None:
    """Return the remembered digest of a file in the state `state`; None if there is none."""
    try:
        recorded_state, _, digest = record.read_text(encoding="ascii").rpartition(" ")
    except (OSError, ValueError):
        return None
    return digest if recorded_state == state and DIGEST_PATTERN.fullmatch(digest) else None


def write_atomic(path: Path, *parts: bytes, sync: bool = True) -> None:
    """Write a file completely or not at all; with `sync`, it is on the disk before it gets its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            for data in parts:
                out.write(data)
            if sync:
                out.flush()
                os.fsync(out.fileno())
        os.utime(part, ns=(time.time_ns(), VERIFIED_MTIME))
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
