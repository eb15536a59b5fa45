"""`track=journal`: a run written down in its own folder, and nowhere else; `track=mlflow` sends it on from there.

The training thread only puts things into a queue. A thread reads tensors, draws pictures and appends lines to
`journal.jsonl` (`sr.track.lines`) every two seconds: the one source of what a run has said.
"""

import errno
import math
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from sr.error import DiskError, UserError
from sr.track import identity, lines, params
from sr.track.none import Nothing

PAUSE = 2.0  # seconds between two writes
BEAT = 60.0  # seconds between two signs of life
RESERVE, RESERVED = ".reserve", 1 << 20  # bytes kept aside: on a full disk a run can still say how it ended
PICTURES = "panels"


class Journal(Nothing):
    """One run. `group` ties runs together by tag; `params` is `short` or `all` (`sr.track.params`)."""

    def __init__(
        self,
        runs: str,
        experiment: str = "sr",
        group: str | None = None,
        panels: int = 4,
        params: str = "short",
        system_every: float | None = None,
    ) -> None:
        super().__init__(panels, system_every)
        self.runs, self.experiment, self.group = Path(runs).resolve(), experiment, group
        self.kept = params
        self._queue: queue.SimpleQueue[Callable[[], None] | threading.Event] = queue.SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._pending: list[bytes] = []  # lines that are not in the file yet
        self._broken: OSError | None = None
        self._before: dict[Any, Any] = {}  # what was superseded by `back`: the time of a point, the files of an image

    @property
    def name(self) -> str:
        return self.experiment

    def start(self, title: str, folder: Path, config: dict[str, Any], typed: list[str], tags: dict[str, str]) -> None:
        """Open the run, or go on with the one that has this folder already."""
        self._folder, self._path = folder, folder / lines.NAME
        known = identity.read(folder)
        self.identity = known or identity.Identity(experiment=self.experiment, typed=list(typed))
        self.identity.verb = tags.get("sr.verb", self.identity.verb)
        if known and known.lives and known.pid != os.getpid():
            raise UserError(f"{folder}: this run is running already (process {known.pid} of {known.host})")
        self.identity.mine()
        identity.write(folder, self.identity)
        tags = {"sr.id": self.identity.id, "sr.folder": str(folder), **tags}
        tags |= {"sr.group": self.group} if self.group else {}
        self._open_file()
        if known is None:
            opened = {"id": self.identity.id, "title": title, "experiment": self.experiment, "tags": tags}
            self._put({"open": opened | {"params": params.of(config, typed, self.kept)}, "time": lines.now()})
        else:
            self._put({"again": self.identity.attempts, "time": lines.now()})
            for key, value in (tags | {"sr.exit": ""}).items():
                self.tag(key, value)
        self._thread = threading.Thread(target=self._write_until_stopped, name="journal", daemon=True)
        self._thread.start()
        self.barrier()

    def _open_file(self) -> None:
        """What a kill or a full disk tore off is cut away."""
        try:
            self._end = lines.whole(self._path)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._file, self._end)
            (self._folder / RESERVE).write_bytes(bytes(RESERVED))
        except OSError as error:
            raise self._unwritable(error) from error

    def points(self, values: dict[str, Any], step: int) -> None:
        self._check()
        self._queue.put(partial(self._read_points, values, step, lines.now()))

    def image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        self._check()
        self._queue.put(partial(self._draw, key, image, step, lines.now()))

    def file(self, path: Path, folder: str = "") -> None:
        path = path.resolve()
        inside = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path
        self._later({"file": inside.as_posix(), "to": folder})

    def text(self, name: str, text: str) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            identity.replace(path, text)
        except OSError:
            self._release()
            identity.replace(path, text)
        self.file(path, str(Path(name).parent).removeprefix("."))

    def tag(self, key: str, value: str) -> None:
        self._later({"tag": key, "value": str(value)})

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        self._later({"dataset": {"name": name, "digest": digest, "source": source, "context": context}})

    def settled(self, step: int) -> None:
        self._later({"settled": step})
        self.barrier()

    def back(self, step: int) -> None:
        """What was said of later steps is remembered: what is said of them again in the same words gets its old time and
        its old name, so that a tracker that had it already has it once."""
        for _, entry in lines.read(self._path):
            if lines.later(entry, step - 1):  # of this very step a test may be told again
                self._before[_words(entry)] = entry.get("files", entry["time"])
        self._later({"back": step})
        self.barrier()

    def barrier(self) -> None:
        written = threading.Event()
        self._queue.put(written)
        if self._thread is not None and self._thread.is_alive():
            self._wake.set()
            written.wait()
        self._check()

    def end(self, status: str, exit: str | None = None) -> None:
        """The status is true before anything else is tried."""
        if self._thread is None:
            return
        self.identity.status, self.identity.exit = status, exit
        if exit:
            self.tag("sr.exit", exit)
        self._later({"status": status, "time": lines.now()})
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._thread = None
        os.close(self._file)
        self._release()
        try:
            identity.write(self._folder, self.identity)
            self._check()
        except (OSError, DiskError) as error:
            print(f"\n{error}", file=sys.stderr)

    def _release(self) -> None:
        (self._folder / RESERVE).unlink(missing_ok=True)

    def _later(self, entry: lines.Entry) -> None:
        self._queue.put(partial(self._put, entry))

    def _check(self) -> None:
        if self._broken:
            raise self._unwritable(self._broken)

    def _unwritable(self, error: OSError) -> DiskError:
        return DiskError(f"{self._path}: the journal cannot be written ({error.strerror or error})")

    def _write_until_stopped(self) -> None:
        beaten = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(PAUSE)
            self._wake.clear()
            self._drain()
            if time.monotonic() - beaten > BEAT:
                identity.beat(self._folder)
                beaten = time.monotonic()
        self._drain()

    def _drain(self) -> None:
        """All that waits goes to the disk, and only then is anybody told that it is there."""
        waiting: list[threading.Event] = []
        while not self._queue.empty():
            item = self._queue.get()
            if isinstance(item, threading.Event):
                waiting.append(item)
                continue
            try:
                item()
            except OSError as error:
                self._break(error)
            except Exception as error:  # a picture that cannot be drawn is no reason to lose what follows
                print(f"\nnot recorded: {type(error).__name__}: {error}", file=sys.stderr)
        self._flush(sync=bool(waiting))
        for event in waiting:
            event.set()

    def _flush(self, sync: bool) -> None:
        data = b"".join(self._pending)
        try:
            written = os.pwrite(self._file, data, self._end)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            self._break(error)
            return
        self._end += written
        self._pending.clear()

    def _break(self, error: OSError) -> None:
        self._broken = error
        self._release()

    def _put(self, entry: lines.Entry) -> None:
        self._pending.append(lines.encode(entry))

    def _read_points(self, values: dict[str, Any], step: int, time: int) -> None:
        numbers = dict(zip(values, _numbers(list(values.values())), strict=True))
        entry = {"points": {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()}, "step": step}
        self._put(entry | {"time": self._before.get(_words(entry), time)})

    def _draw(self, key: str, image: Image | Callable[[], Image], step: int, time: int) -> None:
        """The two files that MLflow's image grid looks for: its own `log_image` would shrink and blur the second."""
        picture = image() if callable(image) else image
        entry = {"image": key, "step": step}
        stem = f"{PICTURES}/{params.key(key).replace('/', '~')}+step+{step}+timestamp+{time}+{uuid.uuid4()}"
        files = self._before.get(_words(entry), [f"{stem}.png", f"{stem}+compressed.webp"])
        (self._folder / PICTURES).mkdir(exist_ok=True)
        picture.save(self._folder / files[0])
        picture.save(self._folder / files[1], lossless=True, method=0)
        self._put(entry | {"time": time, "files": files})


def _words(entry: lines.Entry) -> Any:
    """What makes two entries the same."""
    if "points" in entry:
        return entry["step"], tuple(entry["points"].items())
    return entry["step"], entry["image"]


def _numbers(values: list[Any]) -> list[float]:
    """With one wait for the device, however many tensors there are."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    read = iter(torch.stack([t.detach().double().reshape(()) for t in tensors]).tolist() if tensors else [])
    return [next(read) if isinstance(value, torch.Tensor) else float(value) for value in values]
