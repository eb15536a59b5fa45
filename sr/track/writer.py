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
from sr.record.run_file import create_file, open_file
from sr.runtime.error import DiskError
from sr.runtime.parallel import CPU, use_one_thread

WRITE_INTERVAL = 2.0  # seconds
HEARTBEAT_INTERVAL = 60.0  # seconds
RESERVE_FILE, RESERVE_BYTES = ".reserve", 1 << 20  # freed on a full disk, so that a run can still record how it ended


class FlushCallback(NamedTuple):
    """A function in the queue, to be called once all items before it are on the disk."""

    call: Callable[[], None]
    even_if_failed: bool = False  # True: also after something could not be written


class Writer:
    """Any thread may `put` items; `make_entries` turns them into entries of the file in the writer's own thread.

    `heartbeat` is called about once a minute. After something could not be written, `check` and `flush` raise
    `DiskError`; writing is tried again all the same.
    """

    def __init__(
        self, path: Path, make_entries: Callable[[list[Any]], Iterator[Entry]], heartbeat: Callable[[], None]
    ) -> None:
        self.path, self._make_entries, self._heartbeat = path, make_entries, heartbeat
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._unwritten: list[bytes] = []  # lines that are not in the file yet
        self._error: Exception | None = None  # the first one
        try:
            self._end = find_end(path)
            self._file = open_file(path, os.O_RDWR | os.O_CREAT)
            os.ftruncate(self._file, self._end)  # a line that a kill or a full disk left incomplete
            with create_file(path.with_name(RESERVE_FILE)) as reserve:
                reserve.write(bytes(RESERVE_BYTES))
        except OSError as error:
            raise self._to_disk_error(error) from error
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, item: Any) -> None:
        """Queue an item; it is written within two seconds."""
        self._queue.put(item)

    def call_when_flushed(self, callback: Callable[[], None]) -> None:
        """Call `callback` when all items so far are on the disk; never, if they cannot be written."""
        self._queue.put(FlushCallback(callback))
        self._wake.set()

    def check(self) -> None:
        """Raise if something could not be written."""
        if self._error:
            raise self._to_disk_error(self._error)

    def record_error(self, error: Exception) -> None:
        """Note that something could not be written, for `check`, and make room for how the run ends."""
        self._error = self._error or error
        self.free_reserve()

    def flush(self) -> None:
        """Return when all items so far are on the disk and their callbacks have been called; raise if that failed."""
        is_done = threading.Event()
        self._queue.put(FlushCallback(is_done.set, even_if_failed=True))
        self._wake.set()
        while not is_done.wait(1.0) and self._thread.is_alive():
            pass
        self.check()

    def close(self) -> None:
        """Write what is left and end the thread; raise if something was not written."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        os.close(self._file)
        self.free_reserve()
        if self._unwritten:
            self.check()

    def free_reserve(self) -> None:
        """Remove the file that reserves space on the disk."""
        with contextlib.suppress(OSError):
            self.path.with_name(RESERVE_FILE).unlink(missing_ok=True)

    def _to_disk_error(self, error: Exception) -> DiskError:
        if isinstance(error, DiskError):
            return error
        return DiskError(f"{self.path}: the journal cannot be written ({getattr(error, 'strerror', None) or error})")

    def _run(self) -> None:
        last_heartbeat = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(WRITE_INTERVAL)
            self._wake.clear()
            self._drain_queue()
            if time.monotonic() - last_heartbeat > HEARTBEAT_INTERVAL:
                last_heartbeat = time.monotonic()
                self._heartbeat()
        self._drain_queue()

    @use_one_thread(CPU)  # it converts sample images while the network is trained
    def _drain_queue(self) -> None:
        """Write all queued items, and call each callback in its turn, so that nobody waits for ever after an error."""
        items: list[Any] = []
        for _ in range(self._queue.qsize()):
            item = self._queue.get()
            if isinstance(item, FlushCallback):
                self._write_items(items)
                items = []
                self._call(item)
            else:
                items.append(item)
        self._write_items(items)

    def _write_items(self, items: list[Any]) -> None:
        try:
            for entry in self._make_entries(items):
                self._unwritten.append(encode_entry(entry))
        except Exception as error:  # the thread must go on, and `check` must raise
            self.record_error(error)
        self._append_lines()

    def _call(self, callback: FlushCallback) -> None:
        if self._error and not callback.even_if_failed:
            return
        try:
            callback.call()
        except Exception as error:
            self.record_error(error)

    def _append_lines(self) -> None:
        data = b"".join(self._unwritten)
        if not data:
            return
        try:
            written = os.pwrite(self._file, data, self._end)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            self.record_error(error)
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            return
        self._end += written
        self._unwritten.clear()
