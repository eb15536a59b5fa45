"""Mark runs as KILLED whose process has died."""

import contextlib
from pathlib import Path

from sr.record.identity import KILLED, list_runs, lock_run, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, append_entries, current_time_ms


def mark_orphaned_runs(runs: Path) -> list[Path]:
    """Mark runs as KILLED whose processes ended without a word; their folders."""
    return [folder for folder, known in list_runs(runs) if known.is_orphaned and _buried(folder)]


def _buried(folder: Path) -> bool:
    """Nobody else may go on with the run meanwhile, nor have gone on since it was looked at."""
    with contextlib.suppress(OSError):  # somebody else's folder, or a full disk: the next command tries again
        lock = lock_run(folder)
        known = read_identity(folder) if lock else None
        try:
            if known is not None and known.is_orphaned:
                known.status, known.exit = KILLED, "its process is gone"
                tag, ended = (
                    {"tag": "sr.exit", "value": known.exit},
                    {"status": known.status, "time": current_time_ms()},
                )
                append_entries(folder / JOURNAL_FILE, [tag, ended])
                write_identity(folder, known)
                return True
        finally:
            if lock:
                lock.release()
    return False
