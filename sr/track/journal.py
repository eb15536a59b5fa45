"""`track=journal`: a run recorded in its own folder, and nowhere else; `track=mlflow` sends it on from there.

The training thread only puts items into a queue. The writer's thread reads tensors from a GPU, draws images and appends
lines to `journal.jsonl` (`sr.record.journal_format`), the one source of everything that a run reported.
"""

import contextlib
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import BaseFileLock
from PIL.Image import Image

from sr.record.identity import Identity, lock_run, overwrite_identity, read_identity, touch_heartbeat, write_identity
from sr.record.journal_format import JOURNAL_FILE, Entry, current_time_ms, is_later, read_entries
from sr.record.orphans import mark_orphaned_runs
from sr.record.past import FOLDER_TAG, Past, read_past
from sr.record.run_file import check_no_link, check_writable, create_folder, write_atomic
from sr.runtime.error import DiskError, UserError
from sr.runtime.option_types import NonEmptyStr, NonNegativeInt, PathStr, PositiveFloat
from sr.track.device_values import Reading, read_cpu_tensor, read_numbers
from sr.track.image_files import IMAGE_FOLDER, name_image_file, save_image
from sr.track.mlflow_format import CURSOR_FILE, DESCRIPTION
from sr.track.tracker import Tracker
from sr.track.writer import Writer

LOCK_TIMEOUT = 15.0  # seconds: loader processes of a killed run hold its lock until they notice that it is dead


class QueuedPoints(NamedTuple):
    """Scalars that may still be on the device."""

    values: dict[str, Any]
    step: int
    time: int


class QueuedImage(NamedTuple):
    """An image, or the function that draws it."""

    key: str
    image: Image | Callable[[], Image]
    step: int
    time: int


class Journal(Tracker):
    """One run. `group` is a tag to find runs by; `params` is `short` or `all` (see `select_hyperparameters`).

    `checkpoints` are the files that become artifacts at the end of a run: the best, these and the last, or none.
    """

    def __init__(
        self,
        runs: PathStr,
        experiment: NonEmptyStr = "sr",
        group: str | None = None,
        panels: NonNegativeInt = 4,
        params: Literal["short", "all"] = "short",
        system_interval: PositiveFloat | None = None,
        checkpoints: Literal["best", "all", "none"] = "best",
    ) -> None:
        super().__init__(panels, system_interval, params)
        self.checkpoints = checkpoints
        self.runs, self.experiment, self.group = Path(runs).resolve(), experiment, group
        self._lock: BaseFileLock | None = None  # of the run's folder, which belongs to one process
        self._writer: Writer | None = None
        self._identity_lock = threading.Lock()  # two threads change and write the identity
        self._unreadable: set[str] = set()  # names of points that could not be read
        self._rewound: dict[Any, Any] = {}  # the times of entries that `rewind` made void

    def start(
        self, title: str, folder: Path, params: dict[str, str], overrides: list[str], tags: dict[str, str]
    ) -> None:
        lock = _lock_folder(folder)
        try:
            past = read_past(folder)
            check_no_link(folder / IMAGE_FOLDER)
            if past.has_entries:
                check_writable(folder / JOURNAL_FILE)
        except UserError:  # before anything has changed
            lock.release()
            raise
        self._lock, self._folder, self._path = lock, folder, folder / JOURNAL_FILE
        self.identity = read_identity(folder) or Identity(experiment=self.experiment, overrides=list(overrides))
        tags = self._continue_past(past) | tags
        self.identity.command = tags.get("sr.verb", self.identity.command)
        self.identity.claim()
        self._update_identity()
        self._orphans = mark_orphaned_runs(self.runs)
        self._writer = Writer(self._path, self._make_entries, partial(touch_heartbeat, folder))
        tags = {"sr.id": self.identity.id, FOLDER_TAG: str(folder), **tags}
        tags |= {"sr.group": self.group} if self.group else {}
        if past.opening is None or past.is_copy:
            opening = {"id": self.identity.id, "title": title, "experiment": self.experiment, "tags": tags}
            opening["params"] = params
            self._writer.put({"open": opening, "time": current_time_ms()})
        if past.has_entries:
            self._writer.put({"again": self.identity.attempts, "time": current_time_ms()})
            for key, value in (tags | {"sr.exit": ""}).items():
                self.set_tag(key, value)
        self.flush()

    def _continue_past(self, past: Past) -> dict[str, str]:
        """Make the identity that of the run in the journal, or a new one if the folder is a copy; return tags for it."""
        if past.is_copy:
            print(f"{self._folder}: a copy of {past.origin}, so it continues as a run of its own, with a new id")
            (self._folder / CURSOR_FILE).unlink(missing_ok=True)  # what the tracker has, it has of the other run
            self.identity = replace(self.identity, id=Identity().id, run_id=None)
            return {"sr.copied_from": str(past.origin)}
        if past.opening:
            self.identity.id = past.opening["id"]  # run.json may have been lost
        if past.origin:
            print(f"{self._folder}: was moved here from {past.origin}, and continues as the same run")
        return {}

    def log_points(self, values: dict[str, Any], step: int) -> None:
        """Queue scalars. Those on the CPU are read at once: a tensor that is held, however small, fragments the memory
        that the next step could have used again."""
        self._put(
            QueuedPoints({name: read_cpu_tensor(value) for name, value in values.items()}, step, current_time_ms())
        )

    def log_image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        self._put(QueuedImage(key, image, step, current_time_ms()))

    def log_file(self, path: Path, folder: str = "") -> None:
        self._put({"file": path.resolve().relative_to(self._folder.resolve()).as_posix(), "to": folder})

    def log_text(self, name: str, text: str) -> None:
        path = self._folder / name
        try:
            create_folder(path.parent, self._folder)
            write_atomic(path, text)
        except OSError as error:
            self._writer.free_reserve()
            raise DiskError(f"{path}: cannot be written ({error.strerror or error})") from error
        self.log_file(path, str(Path(name).parent).removeprefix("."))

    def set_tag(self, key: str, value: str) -> None:
        self._put({"tag": key, "value": str(value)})

    def set_description(self, text: str) -> None:
        self.set_tag(DESCRIPTION, text)

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        self._put({"dataset": {"name": name, "digest": digest, "source": source, "context": context}})

    def call_when_flushed(self, callback: Callable[[], None]) -> None:
        if self._writer is not None:
            self._writer.check()
            self._writer.call_when_flushed(callback)

    def mark_saved(self, step: int) -> None:
        self._put({"settled": step})

    def rewind(self, step: int) -> None:
        """Make the points and images of later steps void. What is then reported again with the same values gets its old
        time, of which the name of an image's file is made too, so that a server which has it does not have it twice."""
        for placed in read_entries(self._path):
            entry = placed.entry
            if is_later(entry, step - 1):  # a test reports at the step of the checkpoint itself
                self._rewound[_make_entry_key(entry)] = entry["time"]
        self._put({"back": step})
        self.flush()

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self, status: str, exit: str | None = None) -> None:
        """Close the run. The identity gets its status even if the journal cannot be written."""
        if self._lock is None:
            return
        try:
            if self._writer is not None:
                with contextlib.suppress(
                    DiskError
                ):  # reported below; now nothing stands between the status and the file
                    self._writer.flush()
                if exit:
                    self._writer.put({"tag": "sr.exit", "value": exit})
                self._writer.put({"status": status, "time": current_time_ms()})
                self._writer.close()
        except DiskError as error:
            print(f"\n{error}", file=sys.stderr)
        finally:
            self._writer = None
            self._update_identity(status=status, exit=exit)
            self._finish_sending()
            self._lock.release()
            self._lock = None

    def _finish_sending(self) -> None:
        """Wait for what is still being sent; for trackers that send the journal to a server."""

    def _put(self, item: Any) -> None:
        if self._writer is not None:
            self._writer.check()
            self._writer.put(item)

    def _update_identity(self, **changes: Any) -> None:
        """Change the identity and write it; on a full disk over the old file, which takes no space."""
        with self._identity_lock:
            for name, value in changes.items():
                setattr(self.identity, name, value)
            try:
                write_identity(self._folder, self.identity)
            except OSError:
                with contextlib.suppress(OSError):
                    overwrite_identity(self._folder, self.identity)

    def _make_entries(self, items: list[Any]) -> Iterator[Entry]:
        """Yield the journal entries of queued items; all their tensors are read with one wait for the device."""
        values = [value for item in items if isinstance(item, QueuedPoints) for value in item.values.values()]
        readings = iter(read_numbers(values))
        for item in items:
            if isinstance(item, QueuedPoints):
                yield self._make_points_entry({name: next(readings) for name in item.values}, item)
            elif isinstance(item, QueuedImage):
                try:
                    yield self._save_image(item)
                except OSError as error:  # the run must end; what follows is written all the same
                    self._writer.record_error(error)
                except Exception as error:  # an image that cannot be drawn must not lose what follows
                    print(f"\n{item.key} is not drawn: {type(error).__name__}: {error}", file=sys.stderr)
            else:
                yield item

    def _make_points_entry(self, readings: dict[str, Reading], queued: QueuedPoints) -> Entry:
        for name, reading in readings.items():
            if isinstance(reading, Exception) and name not in self._unreadable:
                self._unreadable.add(name)  # reported once
                reason = (str(reading).splitlines() or [type(reading).__name__])[0]
                print(f"\n{name} of step {queued.step} is not logged: it cannot be read ({reason})", file=sys.stderr)
        numbers = {name: value for name, value in readings.items() if not isinstance(value, Exception)}
        entry = {"points": {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}, "step": queued.step}
        return entry | {"time": self._rewound.get(_make_entry_key(entry), queued.time)}

    def _save_image(self, queued: QueuedImage) -> Entry:
        """Draw an image and save it in the run's folder; return its entry."""
        image = queued.image() if callable(queued.image) else queued.image
        name = name_image_file(queued.key, queued.step)
        save_image(image, self._folder, name)
        entry = {"image": queued.key, "step": queued.step}
        return entry | {"time": self._rewound.get(_make_entry_key(entry), queued.time), "files": [name]}


def _lock_folder(folder: Path) -> BaseFileLock:
    """Return the lock of a run's folder; raise if another process runs it."""
    identity = read_identity(folder)
    is_own = identity is not None and identity.pid == os.getpid()
    lock = None if identity and identity.is_alive and not is_own else lock_run(folder, LOCK_TIMEOUT)
    if lock is None:
        owner = f" (process {identity.pid} of {identity.host})" if identity else ""
        raise UserError(f"{folder}: this run is running already{owner}")
    return lock


def _make_entry_key(entry: Entry) -> Any:
    """Return what identifies points, or an image, that are reported again."""
    return entry["step"], tuple(entry["points"].items()) if "points" in entry else entry["image"]
