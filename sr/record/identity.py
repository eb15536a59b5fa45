"""The identity of a run and whether its process is alive: `run.json` in its folder."""

import contextlib
import json
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, Timeout

from sr.record.json_text import to_json
from sr.record.run_file import check_no_link, open_file, read_text, write_atomic
from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords

RUN_FILE, LOCK_FILE = "run.json", ".lock"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
MAX_START_DIFFERENCE = 1.0  # seconds between two readings of the start of one process
MAX_SILENCE = 600.0  # seconds without a heartbeat, after which a run of another machine is taken for dead
MAX_PID = 2**31 - 1
MIN_ID_LENGTH = 6  # characters of an ID that the user may type instead of all
_FILE_NAMES = {"process_started": "born", "command": "verb", "overrides": "typed"}  # field -> name in run.json


@dataclass
class Identity:
    """One run, however often it is resumed. `id` is our own, `run_id` the tracker's."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str | None = None
    uri: str | None = None  # of the tracking server, without credentials
    experiment: str | None = None
    status: str = RUNNING
    exit: str | None = None  # why the status is not FINISHED
    host: str = ""
    pid: int = 0
    process_started: float = 0.0  # time at which the process started, because process IDs are used again
    command: str = ""  # run, evaluate …
    overrides: list[str] = field(default_factory=list)
    attempts: int = 0
    last_seen: float = 0.0  # time of the last heartbeat: that of `run.json`

    def claim(self) -> None:
        """Make this process the one that the run belongs to."""
        self.host, self.pid, self.process_started = socket.gethostname(), os.getpid(), psutil.Process().create_time()
        self.status, self.exit, self.attempts = RUNNING, None, self.attempts + 1

    @property
    def is_alive(self) -> bool:
        """True if the run's process exists; on another machine, if there was a heartbeat lately."""
        if self.status != RUNNING:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.last_seen < MAX_SILENCE
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.process_started) < MAX_START_DIFFERENCE
            return (
                is_same and process.status() != psutil.STATUS_ZOMBIE
            )  # dead, but its parent has not asked for its exit
        except psutil.Error:
            return False

    @property
    def is_orphaned(self) -> bool:
        """True if the run's process ended without setting a status."""
        return self.status == RUNNING and not self.is_alive


def read_identity(folder: Path) -> Identity | None:
    """Return the identity of a run's folder, or None if there is none or it is not as sr writes it."""
    try:
        content = json.loads(read_text(folder / RUN_FILE))
        content["last_seen"] = (folder / RUN_FILE).stat().st_mtime
        file_names = {name: _FILE_NAMES.get(name, name) for name in Identity.__dataclass_fields__}
        identity = Identity(**{name: content[key] for name, key in file_names.items() if key in content})
        return identity if _has_valid_types(identity) else None
    except (OSError, UserError, ValueError, AttributeError, TypeError, RecursionError):
        return None


def write_identity(folder: Path, identity: Identity) -> None:
    """Write `run.json`, whole or not at all."""
    write_atomic(folder / RUN_FILE, _to_json(identity))


def overwrite_identity(folder: Path, identity: Identity) -> None:
    """Write `run.json` over the old one, which takes no space on a full disk."""
    with os.fdopen(open_file(folder / RUN_FILE, os.O_RDWR), "r+", encoding="utf-8") as file:
        file.write(_to_json(identity))
        file.truncate()


def lock_run(folder: Path, timeout: float = 0.0) -> BaseFileLock | None:
    """Return the lock of a run's folder, which its process holds from start to end.

    None if another process holds it after `timeout` seconds. On a file system without locks nothing is locked.
    """
    check_no_link(folder / LOCK_FILE)
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return None
    except (OSError, NotImplementedError):
        return lock
    return lock


def touch_heartbeat(folder: Path) -> None:
    """Set the time of `run.json` to now, for other machines that share the folder."""
    with contextlib.suppress(OSError):
        os.utime(folder / RUN_FILE)


def list_runs(runs: Path) -> Iterator[tuple[Path, Identity]]:
    """Yield the folder and identity of all runs in `paths.runs`, the newest first."""
    for path in sorted(runs.glob(f"*/{RUN_FILE}"), reverse=True):
        identity = read_identity(path.parent)
        if identity is not None:
            yield path.parent, identity


def find_run(runs: Path, word: str, option: str) -> Path:
    """Return the folder of the run that `option=word` names: a folder, the name of one in `runs`, or an ID.

    The ID may be our own or the tracker's, or the beginning of either.
    """
    for path in (Path(word).expanduser(), runs / word):
        if path.is_dir():
            return path
    ids = {folder: (identity.id, identity.run_id or "") for folder, identity in list_runs(runs)}
    is_id = len(word) >= MIN_ID_LENGTH
    matches = [folder for folder, pair in ids.items() if is_id and any(run_id.startswith(word) for run_id in pair)]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} runs there begin with it" if matches else "there is no such folder, nor a run of this id"
    raise UserError(
        f"{option}={word}: expected a run's folder or its id; {problem} (looked in {runs}, {len(ids)} runs)"
    )


def _to_json(identity: Identity) -> str:
    content = {_FILE_NAMES.get(name, name): value for name, value in asdict(identity).items() if name != "last_seen"}
    return mask_passwords(to_json(content))


def _has_valid_types(identity: Identity) -> bool:
    """Return whether all fields are of their types, and the numbers in their ranges."""
    texts = [identity.id, identity.status, identity.host, identity.command, *identity.overrides]
    texts += [text for text in (identity.run_id, identity.uri, identity.experiment, identity.exit) if text is not None]
    integers = (identity.pid, identity.attempts)
    return (
        isinstance(identity.overrides, list)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and 0 <= number <= MAX_PID for number in integers)
        and isinstance(identity.process_started, int | float)
        and math.isfinite(identity.process_started)
    )
