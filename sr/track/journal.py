"""`track=journal`: a run written down in its own folder, and nowhere else; `track=mlflow` sends it on from there.

The training thread only puts things into a queue. The writer's thread reads a GPU's tensors, draws pictures and appends lines to
`journal.jsonl` (`sr.record.journal_format`): the one source of what a run has said.
"""

import contextlib
import math
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from filelock import BaseFileLock
from PIL.Image import Image

from sr.record import hyperparameters as params
from sr.record.identity import (
    Identity,
    lock_run,
    overwrite_identity,
    read_identity,
    touch_heartbeat,
    write_atomic,
    write_identity,
)
from sr.record.journal_format import JOURNAL_FILE, Entry, current_time_ms, is_later, read_entries
from sr.record.orphans import mark_orphaned_runs
from sr.runtime.error import DiskError, UserError
from sr.track.tracker import Tracker
from sr.track.writer import Writer

PICTURES = "panels"
ORPHANS = 15.0  # seconds in which loader processes notice that their run was killed: until then they hold its lock


class Told(NamedTuple):
    """Points, not yet read from the device."""

    values: dict[str, Any]
    step: int
    time: int


class Shown(NamedTuple):
    """A picture, or what draws it."""

    key: str
    image: Image | Callable[[], Image]
    step: int
    time: int


class Journal(Tracker):
    """One run. `group` ties runs together by tag; `params` is `short` or `all` (`sr.record.hyperparameters`)."""

    def __init__(
        self,
        runs: str,
        experiment: str = "sr",
        group: str | None = None,
        panels: int = 4,
        params: Literal["short", "all"] = "short",
        system_interval: float | None = None,
    ) -> None:
        super().__init__(panels, system_interval)
        if params not in ("short", "all"):
            raise UserError(f"track.params={params}: expected short or all")
        self.runs, self.experiment, self.group = Path(runs).resolve(), experiment, group
        self.params = params
        self._lock: BaseFileLock | None = None  # of the run's folder: it has one process
        self._writer: Writer | None = None
        self._noting = threading.Lock()  # two threads change and write the identity
        self._before: dict[Any, Any] = {}  # what was superseded by `back`: the time of a point, the files of an image

    @property
    def name(self) -> str:
        return self.experiment

    def start(
        self, title: str, folder: Path, config: dict[str, Any], overrides: list[str], tags: dict[str, str]
    ) -> None:
        """Open the run, or go on with the one that has this folder already."""
        self._lock = _claimed(folder)
        known = read_identity(folder)
        self._folder, self._path = folder, folder / JOURNAL_FILE
        self.identity = known or Identity(experiment=self.experiment, typed=list(overrides))
        self.identity.verb = tags.get("sr.verb", self.identity.verb)
        self.identity.claim()
        self._note()
        self._orphans = mark_orphaned_runs(self.runs)
        self._writer = Writer(self._path, self._entries, partial(touch_heartbeat, folder))
        tags = {"sr.id": self.identity.id, "sr.folder": str(folder), **tags}
        tags |= {"sr.group": self.group} if self.group else {}
        if known is None:
            opened = {"id": self.identity.id, "title": title, "experiment": self.experiment, "tags": tags}
            opened["params"] = params.select_hyperparameters(config, overrides, self.params)
            self._writer.put({"open": opened, "time": current_time_ms()})
        else:
            self._writer.put({"again": self.identity.attempts, "time": current_time_ms()})
            for key, value in (tags | {"sr.exit": ""}).items():
                self.set_tag(key, value)
        self.flush()

    def log_points(self, values: dict[str, Any], step: int) -> None:
        """On a CPU there is nothing to wait for, and a tensor that is kept, however small, splits the memory that the next
        step could have used again."""
        self._put(Told({name: _read(value) for name, value in values.items()}, step, current_time_ms()))

    def log_image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        self._put(Shown(key, image, step, current_time_ms()))

    def log_file(self, path: Path, folder: str = "") -> None:
        self._put({"file": path.resolve().relative_to(self._folder.resolve()).as_posix(), "to": folder})

    def log_text(self, name: str, text: str) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text)
        except OSError as error:
            self._writer.release()
            raise DiskError(f"{path}: cannot be written ({error.strerror or error})") from error
        self.log_file(path, str(Path(name).parent).removeprefix("."))

    def set_tag(self, key: str, value: str) -> None:
        self._put({"tag": key, "value": str(value)})

    def set_description(self, text: str) -> None:
        self.set_tag("mlflow.note.content", text)

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        self._put({"dataset": {"name": name, "digest": digest, "source": source, "context": context}})

    def call_when_flushed(self, callback: Callable[[], None]) -> None:
        if self._writer is not None:
            self._writer.check()
            self._writer.call_when_flushed(callback)

    def mark_saved(self, step: int) -> None:
        self._put({"settled": step})

    def rewind(self, step: int) -> None:
        """What was said of later steps is remembered: what is said of them again in the same words gets its old time and
        its old name, so that a tracker that had it already has it once."""
        for placed in read_entries(self._path):
            entry = placed.entry
            if is_later(entry, step - 1):  # of this very step a test may be told again
                self._before[_words(entry)] = entry.get("files", entry["time"])
        self._put({"back": step})
        self.flush()

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self, status: str, exit: str | None = None) -> None:
        """The status is true before anything else is tried."""
        if self._lock is None:
            return
        try:
            if self._writer is not None:
                if exit:
                    self._writer.put({"tag": "sr.exit", "value": exit})
                self._writer.put({"status": status, "time": current_time_ms()})
                self._writer.close()
        except DiskError as error:
            print(f"\n{error}", file=sys.stderr)
        finally:
            self._writer = None
            self._note(status=status, exit=exit)
            self._finish()
            self._lock.release()
            self._lock = None

    def _finish(self) -> None:
        """What a tracker that sends the journal on does at the end."""

    def _put(self, item: Any) -> None:
        if self._writer is not None:
            self._writer.check()
            self._writer.put(item)

    def _note(self, **changes: Any) -> None:
        """Change the identity and write it; where a full disk has no room for another file, over the old one."""
        with self._noting:
            for name, value in changes.items():
                setattr(self.identity, name, value)
            try:
                write_identity(self._folder, self.identity)
            except OSError:
                with contextlib.suppress(OSError):
                    overwrite_identity(self._folder, self.identity)

    def _entries(self, items: list[Any]) -> Iterator[Entry]:
        """With one wait for the device for all of them."""
        values = [value for item in items if isinstance(item, Told) for value in item.values.values()]
        numbers = iter(_numbers(values))
        for item in items:
            if isinstance(item, Told):
                yield self._points({name: next(numbers) for name in item.values}, item)
            elif isinstance(item, Shown):
                try:
                    yield self._drawn(item)
                except OSError:
                    raise
                except Exception as error:  # a picture that cannot be drawn is no reason to lose what follows
                    print(f"\n{item.key} is not drawn: {type(error).__name__}: {error}", file=sys.stderr)
            else:
                yield item

    def _points(self, numbers: dict[str, float], told: Told) -> Entry:
        entry = {"points": {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}, "step": told.step}
        return entry | {"time": self._before.get(_words(entry), told.time)}

    def _drawn(self, shown: Shown) -> Entry:
        """The two files that MLflow's image grid looks for: its own `log_image` would shrink and blur the second."""
        picture = shown.image() if callable(shown.image) else shown.image
        entry = {"image": shown.key, "step": shown.step}
        name = params.sanitize_key(shown.key).replace("/", "~")
        stem = f"{PICTURES}/{name}+step+{shown.step}+timestamp+{shown.time}+{uuid.uuid4()}"
        files = self._before.get(_words(entry), [f"{stem}.png", f"{stem}+compressed.webp"])
        (self._folder / PICTURES).mkdir(exist_ok=True)
        picture.save(self._folder / files[0])
        picture.save(self._folder / files[1], lossless=True, method=0)
        return entry | {"time": shown.time, "files": files}


def _claimed(folder: Path) -> BaseFileLock:
    """The lock of a run's folder, which nobody else may have."""
    known = read_identity(folder)
    mine = known is not None and known.pid == os.getpid()
    lock = None if known and known.is_alive and not mine else lock_run(folder, ORPHANS)
    if lock is None:
        who = f" (process {known.pid} of {known.host})" if known else ""
        raise UserError(f"{folder}: this run is running already{who}")
    return lock


def _words(entry: Entry) -> Any:
    """What makes two entries the same."""
    return entry["step"], tuple(entry["points"].items()) if "points" in entry else entry["image"]


def _read(value: Any) -> Any:
    """A tensor of a CPU as a number."""
    return value.item() if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value


def _numbers(values: list[Any]) -> list[float]:
    """Scalars and tensors of one element, as they are; of each device all at once."""
    found = [0.0 if isinstance(value, torch.Tensor) else float(value) for value in values]
    places: dict[torch.device, list[int]] = {}
    for k, value in enumerate(values):
        if isinstance(value, torch.Tensor):
            places.setdefault(value.device, []).append(k)
    for where in places.values():
        numbers = torch.stack([values[k].detach().double().reshape(()) for k in where]).tolist()
        for k, number in zip(where, numbers, strict=True):
            found[k] = number
    return found
