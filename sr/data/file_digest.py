"""SHA-256 of files, remembered by path, size and times: a file that did not change is not read again, by any run."""

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sr.data.remembered import Remembered
from sr.runtime.terminal import ProgressBar

# The modification time, 1 January 2000, of a complete file: any later write changes it, and so is noticed.
VERIFIED_MTIME = 946_684_800_000_000_000  # ns
SETTLE_SECONDS = 2.0  # age of a change after which another one would show in the file's times, on any file system
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
KIND = "sha256"  # of remembered values: `STATE DIGEST`
MAX_PENDING = 500  # new digests that are held back, to be stored together
_LOCK = threading.Lock()  # of the digests that are held back


class FileState:
    """The size and times of a file, which change with its content; `is_settled` if a change now would show in them, too."""

    def __init__(self, file: Path) -> None:
        """Raise OSError if the file is missing."""
        stat = file.stat()
        self.text = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        self.is_settled = time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLE_SECONDS


class DigestCache:
    """Digests that are remembered in `folder`. Without a folder that can be written, nothing is remembered."""

    def __init__(self, folder: Path | None) -> None:
        self.remembered = Remembered(folder)
        self._known: dict[str, str] = {}  # path -> `STATE DIGEST`
        self._pending: dict[str, str] = {}  # those that are not stored yet

    def preload(self, files: Iterable[Path]) -> None:
        """Look up many files at once, which is faster than one after another."""
        self._known |= self.remembered.find(KIND, [str(file.absolute()) for file in files])

    def digest(self, file: Path, remember: bool = True) -> str:
        """Return the digest of the content of `file`, as it is now. Raises OSError if it cannot be read.

        The last few new ones are remembered for others only after `save`.
        """
        state, key = FileState(file), str(file.absolute())
        if key not in self._known:
            self.preload([file])
        digest = _match(self._known.get(key, ""), state)
        if digest is None:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if state.is_settled:
                self._known[key] = f"{state.text} {digest}"
                if remember:
                    self._remember(key)
        return digest

    def digest_all(self, files: Sequence[Path]) -> list[str]:
        """Return the digests of files, reading in parallel those that are not known, with a progress bar."""
        self.preload(files)
        paths = list(dict.fromkeys(files))
        known = {file: _match(self._known.get(str(file.absolute()), ""), FileState(file)) for file in paths}
        missing = [file for file, digest in known.items() if digest is None]
        with ThreadPoolExecutor(2) as pool:  # hashing releases the GIL, and disks are not faster with more
            results = ProgressBar(pool.map(self.digest, missing), "fingerprint", len(missing), unit="file", delay=2)
            found = known | dict(zip(missing, results, strict=True))
        self.save()
        return [found[file] for file in files]

    def _remember(self, key: str) -> None:
        with _LOCK:
            self._pending[key] = self._known[key]
        if len(self._pending) >= MAX_PENDING:
            self.save()

    def save(self) -> None:
        """Store all new digests."""
        with _LOCK:
            pending, self._pending = self._pending, {}
        self.remembered.store(KIND, pending)


def _match(record: str, state: FileState) -> str | None:
    """Return the remembered digest of a file in this state; None if the record is of another state, or damaged."""
    recorded_state, _, digest = str(record).rpartition(" ")
    return digest if recorded_state == state.text and DIGEST_PATTERN.fullmatch(digest) else None


def write_atomic(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file completely or not at all, even if it is interrupted; it is on the disk before it gets its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            for data in parts:
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.utime(part, ns=(time.time_ns(), VERIFIED_MTIME))
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
