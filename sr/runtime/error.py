"""`UserError`: an error that the user can correct. A command prints only its message, no traceback, and exits with 2."""

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """An error with a message for the user: `KEY=VALUE: what was expected (what was found); what to do`."""


class DiskError(UserError):
    """A file could not be written: the disk is full, or the folder is not writable."""


class MemoryLimitError(UserError):
    """An image needs more memory than it may use; nothing was begun."""


class OutOfMemoryError(UserError):
    """An image needed more memory than there was when it was processed."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return True if an error is, or follows from, that of the operating system for a disk or a quota that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def suggest_nearest(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean "…"?` with the choice most similar to `word`, or an empty string if none is similar."""
    names = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    return f' Did you mean "{names[match[0]]}"?' if match else ""
