"""`UserError`: what the user can mend. The verbs print its text alone, without a traceback, and exit with 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Says what was expected, what came and what to do, in the words the user typed."""


class DiskError(UserError):
    """Something could not be written: the disk is full, or the place is not ours."""


def suggest_nearest(word: str, choices: Iterable[str]) -> str:
    """` Did you mean "…"?` for the choice most like `word`, or an empty string when none is like it."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f' Did you mean "{match[0]}"?' if match else ""
