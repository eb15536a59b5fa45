"""A thread that appends lines to a file every two seconds, and knows when they are on the disk."""

import contextlib
import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sr.error import DiskError
from sr.track import lines

PAUSE = 2.0  # seconds between two writes
BEAT = 60.0  # seconds between two signs of life
RESERVE, RESERVED = ".reserve", 1 << 20  # bytes kept aside: on a full disk a run can still say how it ended


class Writer:
    """Items are `put` by any thread; `entries` makes lines of them, in the writer's own. `beat` is called now and then.

    Once something could not be written, `check` and `barrier` raise `DiskError`; writing is tried again all the same.
    """

    def __init__(
        self, path: Path, entries: Callable[[list[Any]], Iterator[lines.Entry]], beat: Callable[[], None]
    ) -> None:
        self.path, self._entries, self._beat = path, entries, beat
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._pending: list[bytes] = []  # lines that are not in the file yet
        self._broken: Exception | None = None
        try:
            self._end = lines.whole(path)
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

    def check(self) -> None:
        """Raise where something could not be written."""
        if self._broken:
            raise self._unwritable(self._broken)

    def barrier(self) -> None:
        """Returns when all that was put so far is on the disk."""
        written = threading.Event()
        self._queue.put(written)
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
        """All that waits goes to the disk, and only then is anybody told that it is there; but nobody waits for ever."""
        items = [self._queue.get() for _ in range(self._queue.qsize())]
        waiting = [item for item in items if isinstance(item, threading.Event)]
        try:
            for entry in self._entries([item for item in items if not isinstance(item, threading.Event)]):
                self._pending.append(lines.encode(entry))
            self._flush()
        except Exception as error:  # the thread must live, and the run must know
            self._break(error)
        finally:
            for event in waiting:
                event.set()

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
