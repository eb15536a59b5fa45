"""Mark runs as KILLED whose process died without setting a status."""

import sys
from pathlib import Path

from sr.record.identity import KILLED, list_runs, lock_run, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, OPENING, append_entries, current_time_ms, read_entries
from sr.runtime.error import UserError

REASON = "its process has ended"


def mark_orphaned_runs(runs: Path) -> list[Path]:
    """Mark the orphaned runs in `paths.runs` as KILLED, and return their folders."""
    return [folder for folder, identity in list_runs(runs) if identity.is_orphaned and _mark_as_killed(folder)]


def _mark_as_killed(folder: Path) -> bool:
    """Return whether the run was marked: not if another process holds its lock, or has resumed it in the meantime."""
    lock = None
    try:
        lock = lock_run(folder)
        identity = read_identity(folder) if lock else None
        if identity is not None and identity.is_orphaned:
            identity.status, identity.exit = KILLED, REASON
            _end_journal(folder)
            write_identity(folder, identity)
            return True
    except UserError as error:
        print(f"note: {folder.name} is not marked as KILLED: {error}", file=sys.stderr)
    except OSError:
        pass  # somebody else's folder, or a full disk: the next command tries again
    finally:
        if lock:
            lock.release()
    return False


def _end_journal(folder: Path) -> None:
    """Append the status to the journal, unless the run was killed before its journal began, or it cannot be read."""
    path = folder / JOURNAL_FILE
    try:
        if any(read_entries(path, only=OPENING)):
            tag = {"tag": "sr.exit", "value": REASON}
            append_entries(path, [tag, {"status": KILLED, "time": current_time_ms()}])
    except UserError as error:
        print(f"note: {folder.name} is marked as KILLED, but not in its journal: {error}", file=sys.stderr)
