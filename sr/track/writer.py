"""A thread that appends lines to a file every two seconds, and knows when they are on the disk."""

import contextlib
import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sr.record.journal_format import Entry, encode_entry, find_end
from sr.runtime.error import DiskError

PAUSE = 2.0  # seconds between two writes
BEAT = 60.0  # seconds between two signs of life
RESERVE, RESERVED = ".reserve", 1 << 20  # bytes kept aside: on a full disk a run can still say how it ended


class Then(NamedTuple):
    """What is to be done once all before it is on the disk."""

    do: Callable[[], None]
    always: bool = False  # also where something before it could not be written


class Writer:
    """Items are `put` by any thread; `entries` makes lines of them, in the writer's own. `beat` is called now and then.

    Once something could not be written, `check` and `barrier` raise `DiskError`; writing is tried again all the same.
    """

    def __init__(self, path: Path, entries: Callable[[list[Any]], Iterator[Entry]], beat: Callable[[], None]) -> None:
        self.path, self._entries, self._beat = path, entries, beat
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._pending: list[bytes] = []  # lines that are not in the file yet
        self._broken: Exception | None = None
        try:
            self._end = find_end(path)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._file, self._end)  # what a kill or a full disk tore off
            path.with_name(RESERVE).write_bytes(bytes(RESERVED))
        except OSError as error:
            raise self._unwritable(error) from error
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """To be written soon."""
        self._queue.put(item)

    def call_when_flushed(self, do: Callable[[], None]) -> None:
        """Call `do` when all that was put so far is on the disk; never, where that fails."""
        self._queue.put(Then(do))
        self._wake.set()

    def check(self) -> None:
        """Raise where something could not be written."""
        if self._broken:
            raise self._unwritable(self._broken)

    def flush(self) -> None:
        """Returns when all that was put so far is on the disk, and what was to be done then is done."""
        written = threading.Event()
        self._queue.put(Then(written.set, always=True))
        self._wake.set()
        while not written.wait(1.0) and self._thread.is_alive():
            pass
        self.check()

    def close(self) -> None:
        """Write what is left; raises where it could not be."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        os.close(self._file)
        self.release()
        if self._pending:
            self.check()

    def release(self) -> None:
        """Give up what was kept aside."""
        with contextlib.suppress(OSError):
            self.path.with_name(RESERVE).unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> DiskError:
        if isinstance(error, DiskError):
            return error
        return DiskError(f"{self.path}: the journal cannot be written ({getattr(error, 'strerror', None) or error})")

    def _run(self) -> None:
        beaten = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(PAUSE)
            self._wake.clear()
            self._drain()
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                self._beat()
        self._drain()

    def _drain(self) -> None:
        """Whoever waits for the disk is served in turn, also where it failed: nobody waits for ever."""
        items: list[Any] = []
        for _ in range(self._queue.qsize()):
            item = self._queue.get()
            if isinstance(item, Then):
                self._write(items)
                items = []
                self._call(item)
            else:
                items.append(item)
        self._write(items)

    def _write(self, items: list[Any]) -> None:
        try:
            self._pending += [encode_entry(entry) for entry in self._entries(items)]
            self._flush()
        except Exception as error:  # the thread must live, and the run must know
            self._break(error)

    def _call(self, then: Then) -> None:
        if self._broken and not then.always:
            return
        try:
            then.do()
        except Exception as error:
            self._break(error)

    def _flush(self) -> None:
        data = b"".join(self._pending)
        if not data:
            return
        try:
            written = os.pwrite(self._file, data, self._end)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            self._break(error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            return
        self._end += written
        self._pending.clear()

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        self.release()
