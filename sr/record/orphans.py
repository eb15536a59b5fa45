"""Mark runs as KILLED whose process has died."""

import contextlib
from pathlib import Path

from sr.record import identity, journal_format


def set_right(runs: Path) -> list[Path]:
    """Mark runs as KILLED whose processes ended without a word; their folders."""
    return [folder for folder, known in identity.known(runs) if known.gone and _buried(folder)]


def _buried(folder: Path) -> bool:
    """Nobody else may go on with the run meanwhile, nor have gone on since it was looked at."""
    with contextlib.suppress(OSError):  # somebody else's folder, or a full disk: the next command tries again
        lock = identity.hold(folder)
        known = identity.read(folder) if lock else None
        try:
            if known is not None and known.gone:
                known.status, known.exit = identity.KILLED, "its process is gone"
                tag, ended = (
                    {"tag": "sr.exit", "value": known.exit},
                    {"status": known.status, "time": journal_format.now()},
                )
                journal_format.append(folder / journal_format.NAME, [tag, ended])
                identity.write(folder, known)
                return True
        finally:
            if lock:
                lock.release()
    return False
