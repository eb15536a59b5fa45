"""Decoded images on disk, mapped into memory: a crop reads no more than it needs, and all processes share one copy.

An entry is named by the digest of its image file (`sr.data.file_digest`): a file that is renamed or copied is not decoded
again, a file that changes is. An entry is `[C, H, W]` as uint8 or uint16, then `TRAILER`; it is written under a temporary
name and renamed, so that processes may build the same entry at once.
"""

import contextlib
import hashlib
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sr.data.file_digest import DIGEST_PATTERN, VERIFIED_MTIME, DigestCache, write_atomic
from sr.data.remembered import FILE
from sr.image.read import read_levels
from sr.runtime.terminal import ProgressBar

TRAILER = struct.Struct("<8s4I")  # magic, C, H, W, CRC-32
DTYPES = {b"sr.pix01": torch.uint8, b"sr.pix16": torch.uint16}  # by magic; another decoder needs another magic
MAGICS = {dtype: magic for magic, dtype in DTYPES.items()}
OLD_DIGEST_FOLDER = "files"  # subfolder in which earlier versions remembered digests
MAX_WRITE_SECONDS = 3600.0  # an unfinished entry of this age was left by a process that was terminated
BYTES_PER_PART = 1 << 24  # that are written at once
ROW = 4096  # samples; the length of an entry of a whole set is a multiple of it
_LOCK = threading.Lock()


class CacheEntry(NamedTuple):
    """One decoded image; entries sort by the time of their last use."""

    used: int  # ns
    size: int  # bytes
    path: Path


class Cache:
    """Entries in `folder`, of `limit` bytes in total: beyond it, the least recently used ones are removed.

    If the folder cannot be written, or is full, a note is printed once; images that are not in it are decoded each time.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder.expanduser(), limit
        self.digests = DigestCache(self.folder)
        self.remembered = self.digests.remembered
        self._start = time.time_ns()
        self._removable: list[CacheEntry] | None = None  # the least recently used entry last
        self._free = 0.0
        self._is_closed = False

    def find(self, file: Path, kind: object = None) -> Tensor | None:
        """Return the pixels of `file`, mapped: uint8 or uint16 `[3 or 1, H, W]`; None if there is no complete entry.

        `kind` identifies, by its repr, what was made of the decoded pixels; each kind has an entry of its own.
        """
        entry = self._entry_path(file, kind)
        return _map_entry(entry) if entry else None

    def pixels(self, file: Path, kind: object = None, make: Callable[[], Tensor] | None = None) -> tuple[Tensor, bool]:
        """Return the pixels of `file`, and whether they are mapped. If there is no entry, they are decoded (or made by
        `make`) and stored."""
        mapped = self.find(file, kind)
        if mapped is None:
            entry = None if self._is_closed else self._entry_path(file, kind)
            decoded = make() if make else read_levels(file)
            if entry is None or entry != self._entry_path(file, kind) or not self._write(entry, decoded):
                return decoded, False
            mapped = _map_entry(entry)
        return (mapped, True) if mapped is not None else (decoded, False)

    def list_files(self) -> list[Path]:
        """List the files of the cache; files of others in its folder are left out."""
        databases = [self.folder / f"{FILE}{suffix}" for suffix in ("", "-journal")]
        files = _list_own_files(self.folder / "pixels") + _list_own_files(self.folder / OLD_DIGEST_FOLDER)
        return [*files, *filter(Path.exists, databases)]

    def _entry_path(self, file: Path, kind: object = None) -> Path | None:
        """Return the path of the entry of `file`, as it is now; None if it cannot be read."""
        try:
            digest = self.digests.digest(file, remember=not self._is_closed)
        except OSError:
            return None
        return self.folder / "pixels" / _name_entry(digest, kind)

    def name_entries(self, origins: Sequence[tuple[Path, object]]) -> list[str]:
        """Return what identifies the pixels made of each file and kind; an empty list if a file cannot be read."""
        try:
            digests = self.digests.digest_all([file for file, _ in origins])
        except OSError:
            return []
        return [_name_entry(digest, kind) for digest, (_, kind) in zip(digests, origins, strict=True)]

    def find_samples(self, name: str) -> Tensor | None:
        """Return the samples of the entry `name` of a whole set, mapped and flat; None if there is no such entry."""
        samples = _map_entry(self.folder / "pixels" / name)
        return None if samples is None else samples.flatten()

    def store_samples(self, name: str, samples: Tensor) -> None:
        """Store all samples of a set as one entry, with a progress bar: a flat tensor, its length a multiple of `ROW`."""
        if not self._is_closed:
            with ProgressBar(desc="writing the cache", total=samples.nbytes, unit="B", unit_scale=True, delay=2) as bar:
                self._write(self.folder / "pixels" / name, samples.view(1, -1, ROW), bar.update)

    def _write(self, entry: Path, pixels: Tensor, report: Callable[[int], Any] = lambda count: None) -> bool:
        """Write an entry; return whether it is there now. `report` is called with the number of bytes of each part."""
        if not self._make_room(pixels.nbytes + TRAILER.size):
            self._close(f"the images of this run take more than data.disk={self.limit / 1e9:g} GB")
            return False
        data = pixels.contiguous().numpy()

        def iterate_parts() -> Iterator[bytes]:
            crc, content = 0, memoryview(data).cast("B")
            for start in range(0, len(content), BYTES_PER_PART):
                part = content[start : start + BYTES_PER_PART]
                crc = zlib.crc32(part, crc)
                yield part
                report(len(part))
            yield TRAILER.pack(MAGICS[pixels.dtype], *data.shape, crc)

        try:
            write_atomic(entry, iterate_parts())
        except OSError as error:
            self._close(f"cannot be written ({error.strerror or error})")
            return False
        return True

    def _make_room(self, size: int) -> bool:
        """Remove old entries until `size` bytes are free; those that this run has used stay."""
        with _LOCK:
            if self._removable is None:
                self._removable = sorted(_list_entries(self.folder / "pixels"), reverse=True)
                self._free = self.limit - sum(entry.size for entry in self._removable)
            while self._free < size and self._removable:
                entry = self._removable.pop()
                with contextlib.suppress(OSError):  # another process has removed it
                    if entry.path.stat().st_atime_ns < self._start:
                        entry.path.unlink()
                        self._free += entry.size
            if self._free < size:
                return False
            self._free -= size
            return True

    def _close(self, reason: str) -> None:
        with _LOCK:
            if not self._is_closed:
                print(f"note: paths.cache={self.folder}: {reason}; images that are not in it are decoded each time",
                      file=sys.stderr)  # fmt: skip
            self._is_closed = True


def _name_entry(digest: str, kind: object) -> str:
    return digest if kind is None else hashlib.sha256(f"{digest} {kind!r}".encode()).hexdigest()


def _map_entry(path: Path) -> Tensor | None:
    """Return an entry's pixels if it is complete, and mark it as used now."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            file.seek(max(0, state.st_size - TRAILER.size))
            magic, c, h, w, crc = TRAILER.unpack(file.read())
        dtype = DTYPES.get(magic)
        if dtype is None or state.st_size != c * h * w * dtype.itemsize + TRAILER.size:
            return None
        flat = torch.from_file(str(path), shared=False, size=c * h * w, dtype=dtype)
    except (OSError, struct.error, RuntimeError):  # RuntimeError: PyTorch could not map it
        return None
    if state.st_mtime_ns != VERIFIED_MTIME and zlib.crc32(flat.numpy()) != crc:
        return None
    with contextlib.suppress(OSError):  # the folder belongs to another user
        os.utime(path, ns=(time.time_ns(), VERIFIED_MTIME))
    return flat.view(c, h, w)


def _list_entries(folder: Path) -> list[CacheEntry]:
    """List all entries, and remove unfinished ones that nobody writes any more."""
    entries = []
    for path in _list_own_files(folder):
        with contextlib.suppress(OSError):  # another process has removed it
            state = path.stat()
            if path.suffix != ".part":
                entries.append(CacheEntry(state.st_atime_ns, state.st_size, path))
            elif time.time() - state.st_mtime >= MAX_WRITE_SECONDS:
                path.unlink()
    return entries


def _list_own_files(folder: Path) -> list[Path]:
    """List the files of a folder that, by their names, only a cache can have written."""
    return [path for path in folder.glob("*") if DIGEST_PATTERN.match(path.name) and path.suffix in ("", ".part")]
