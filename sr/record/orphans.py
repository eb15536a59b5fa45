"""Mark runs as KILLED whose process died without setting a status."""

import contextlib
from pathlib import Path

from sr.record.identity import KILLED, list_runs, lock_run, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, append_entries, current_time_ms

REASON = "its process has ended"


def mark_orphaned_runs(runs: Path) -> list[Path]:
    """Mark the orphaned runs in `paths.runs` as KILLED, and return their folders."""
    return [folder for folder, identity in list_runs(runs) if identity.is_orphaned and _mark_as_killed(folder)]


def _mark_as_killed(folder: Path) -> bool:
    """Return whether the run was marked: not if another process holds its lock, or has resumed it in the meantime."""
    with contextlib.suppress(OSError):  # somebody else's folder, or a full disk: the next command tries again
        lock = lock_run(folder)
        identity = read_identity(folder) if lock else None
        try:
            if identity is not None and identity.is_orphaned:
                identity.status, identity.exit = KILLED, REASON
                tag = {"tag": "sr.exit", "value": REASON}
                append_entries(folder / JOURNAL_FILE, [tag, {"status": KILLED, "time": current_time_ms()}])
                write_identity(folder, identity)
                return True
        finally:
            if lock:
                lock.release()
    return False
