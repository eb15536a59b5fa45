"""Decoded pictures on disk, mapped into memory: a crop reads no more than it needs, and all processes share one copy.

An entry is named by the bytes of its picture's file (`sr.data.file_digest`): a file that is renamed or copied is not decoded
again, one that changes is.
An entry is `[C, H, W]` as bytes, then `TRAILER`; it is written beside its place and renamed, so that processes that
build the same entry at once do no harm.
"""

import contextlib
import hashlib
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sr.data.file_digest import NAME, WHOLE, DigestCache, write_atomic
from sr.image.read import read_image

TRAILER, MAGIC = struct.Struct("<8s4I"), b"sr.pix01"  # magic, C, H, W, CRC-32; another decoder needs another magic
FILES = "files"  # what is known of the pictures' files (`sr.data.file_digest`)
STALE = 3600.0  # seconds after which a half-written entry is nobody's
_LOCK = threading.Lock()


class Entry(NamedTuple):
    """One decoded picture."""

    used: int  # ns
    size: int  # bytes
    path: Path


class Cache:
    """Entries in `folder`, of `limit` bytes in all: beyond it, those that were not used for longest are removed.

    A folder that cannot be written, or is full, is said once; what is not in it is then decoded each time.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder.expanduser(), limit
        self._memo = DigestCache(self.folder / FILES)
        self._born = time.time_ns()
        self._old: list[Entry] | None = None  # those used longest ago last
        self._free = 0.0
        self._closed = False

    def find(self, file: Path, kind: object = None) -> Tensor | None:
        """The pixels of `file`, mapped: uint8 `[3 or 1, H, W]`; None where there is no whole entry of it.

        `kind` names, by its repr, what is made of the pixels before they are kept: each has an entry of its own.
        """
        entry = self._entry(file, kind)
        return _mapped(entry) if entry else None

    def pixels(self, file: Path, kind: object = None, make: Callable[[], Tensor] | None = None) -> tuple[Tensor, bool]:
        """The pixels of `file`, and whether they are mapped; decoded (or made) and kept, if they were not there."""
        found = self.find(file, kind)
        if found is None:
            entry = None if self._closed else self._entry(file, kind)
            decoded = make() if make else read_image(file).pixels
            if entry is None or entry != self._entry(file, kind) or not self._write(entry, decoded):
                return decoded, False
            found = _mapped(entry)
        return (found, True) if found is not None else (decoded, False)

    def files(self) -> list[Path]:
        """All that is the cache's in its folder, whoever else has files there."""
        return _ours(self.folder / "pixels") + _ours(self.folder / FILES)

    def _entry(self, file: Path, kind: object = None) -> Path | None:
        """Where the pixels of `file` belong, as it is now; None where it cannot be read."""
        try:
            name = self._memo.digest(file, remember=not self._closed)
        except OSError:
            return None
        return (
            self.folder / "pixels" / (name if kind is None else hashlib.sha256(f"{name} {kind!r}".encode()).hexdigest())
        )

    def _write(self, entry: Path, pixels: Tensor) -> bool:
        """Whether the entry is there now."""
        if not self._room(pixels.numel() + TRAILER.size):
            self._close(f"the pictures of this run take more than data.disk={self.limit / 1e9:g} GB")
            return False
        data = pixels.contiguous().numpy()
        try:
            write_atomic(entry, data, TRAILER.pack(MAGIC, *data.shape, zlib.crc32(data)))
        except OSError as error:
            self._close(f"cannot be written ({error.strerror or error})")
            return False
        return True

    def _room(self, cost: int) -> bool:
        """Make room for an entry; what this run has used stays."""
        with _LOCK:
            if self._old is None:
                self._old = sorted(_entries(self.folder / "pixels", STALE), reverse=True)
                self._free = self.limit - sum(entry.size for entry in self._old)
            while self._free < cost and self._old:
                entry = self._old.pop()
                with contextlib.suppress(OSError):  # another process was quicker
                    if entry.path.stat().st_atime_ns < self._born:
                        entry.path.unlink()
                        self._free += entry.size
            if self._free < cost:
                return False
            self._free -= cost
            return True

    def _close(self, why: str) -> None:
        with _LOCK:
            if not self._closed:
                print(f"note: paths.cache={self.folder}: {why}; what is not in it is decoded each time",
                      file=sys.stderr)  # fmt: skip
            self._closed = True


def _mapped(path: Path) -> Tensor | None:
    """An entry's pixels, once they are known to be whole; its date of use becomes now."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            file.seek(max(0, state.st_size - TRAILER.size))
            magic, c, h, w, crc = TRAILER.unpack(file.read())
        if magic != MAGIC or state.st_size != c * h * w + TRAILER.size:
            return None
        flat = torch.from_file(str(path), shared=False, size=c * h * w, dtype=torch.uint8)
    except (OSError, struct.error, RuntimeError):  # RuntimeError: PyTorch could not map it
        return None
    if state.st_mtime_ns != WHOLE and zlib.crc32(flat.numpy()) != crc:
        return None
    with contextlib.suppress(OSError):  # a folder of somebody else's
        os.utime(path, ns=(time.time_ns(), WHOLE))
    return flat.view(c, h, w)


def _entries(folder: Path, age: float) -> list[Entry]:
    """All entries. What was left half-written for more than `age` seconds is removed."""
    found = []
    for path in _ours(folder):
        with contextlib.suppress(OSError):  # another process was quicker
            state = path.stat()
            if path.suffix != ".part":
                found.append(Entry(state.st_atime_ns, state.st_size, path))
            elif time.time() - state.st_mtime >= age:
                path.unlink()
    return found


def _ours(folder: Path) -> list[Path]:
    """The files of a folder that can only be a cache's."""
    return [path for path in folder.glob("*") if NAME.match(path.name) and path.suffix in ("", ".part")]
