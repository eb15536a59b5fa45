"""Who a run is, and whether it lives: `run.json` in its folder, and MLflow's id once there is one."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, Timeout

from sr.runtime.error import UserError

RUN_FILE, LOCK = "run.json", ".lock"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
SAME = 1.0  # seconds that two readings of a process's start may differ by
SILENT = 600.0  # seconds without a sign of life, after which a run of another machine is believed dead


@dataclass
class Identity:
    """One run, however often it is resumed. `id` is ours, `run_id` MLflow's; `exit` says why it is not FINISHED."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str | None = None
    uri: str | None = None
    experiment: str | None = None
    status: str = RUNNING
    exit: str | None = None
    host: str = ""
    pid: int = 0
    born: float = 0.0  # when its process was started: a pid is given again
    verb: str = ""
    typed: list[str] = field(default_factory=list)
    attempts: int = 0
    seen: float = 0.0  # when its last sign of life was: the time of `run.json`

    def claim(self) -> None:
        """From here on this process is the run's."""
        self.host, self.pid, self.born = socket.gethostname(), os.getpid(), psutil.Process().create_time()
        self.status, self.exit, self.attempts = RUNNING, None, self.attempts + 1

    @property
    def is_alive(self) -> bool:
        """Whether its process is there; of another machine's, whether there was a sign of life lately."""
        if self.status != RUNNING:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.seen < SILENT
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < SAME
            return same and process.status() != psutil.STATUS_ZOMBIE  # dead, and nobody has asked how it ended
        except psutil.Error:
            return False

    @property
    def is_orphaned(self) -> bool:
        """Whether its process ended without a word."""
        return self.status == RUNNING and not self.is_alive


def read_identity(folder: Path) -> Identity | None:
    """The identity of a run's folder, or None where there is none that can be read."""
    try:
        known = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        known["seen"] = (folder / RUN_FILE).stat().st_mtime
        names = Identity.__dataclass_fields__
        return Identity(**{key: value for key, value in known.items() if key in names})
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def write_identity(folder: Path, identity: Identity) -> None:
    """Whole or not at all."""
    write_atomic(folder / RUN_FILE, _text(identity))


def overwrite_identity(folder: Path, identity: Identity) -> None:
    """In the place of the old one, which takes no room on a full disk."""
    with (folder / RUN_FILE).open("r+", encoding="utf-8") as file:
        file.write(_text(identity))
        file.truncate()


def _text(identity: Identity) -> str:
    known = asdict(identity)
    del known["seen"]
    return json.dumps(known, indent=2, ensure_ascii=False)


def lock_run(folder: Path, seconds: float = 0.0) -> BaseFileLock | None:
    """The lock of a run's folder, which its process has from its start to its end; None where somebody has it still after so
    many seconds. Where files cannot be locked, nothing is."""
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return None
    except (OSError, NotImplementedError):
        return lock
    return lock


def touch_heartbeat(folder: Path) -> None:
    """A sign of life, for other machines that share the folder."""
    with contextlib.suppress(OSError):
        os.utime(folder / RUN_FILE)


def write_atomic(path: Path, text: str) -> None:
    """Write a small file so that there is the old one or the new one, whatever happens."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def list_runs(runs: Path) -> Iterator[tuple[Path, Identity]]:
    """All runs in `paths.runs`, the newest first."""
    for path in sorted(runs.glob(f"*/{RUN_FILE}"), reverse=True):
        found = read_identity(path.parent)
        if found is not None:
            yield path.parent, found


def find_run(runs: Path, word: str, dial: str) -> Path:
    """The folder of a run that `word` names: the folder itself, its name, our id or MLflow's (or their beginning)."""
    for path in (Path(word).expanduser(), runs / word):
        if path.is_dir():
            return path
    ids = {folder: (one.id, one.run_id or "") for folder, one in list_runs(runs)}
    found = [folder for folder, both in ids.items() if len(word) >= 6 and any(i.startswith(word) for i in both)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs there begin with it" if found else "there is no such folder, nor a run of this id"
    raise UserError(f"{dial}={word}: expected a run's folder or its id; {what} (looked in {runs}, {len(ids)} runs)")
