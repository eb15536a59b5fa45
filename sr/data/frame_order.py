"""Check that the frames of a clip sort by name in the order in which they were taken."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from sr.runtime.error import UserError


def check_frame_order(files: Sequence[Path], option: str) -> None:
    """Raise `UserError` if numbers without leading zeros put a frame in a wrong place: 10 before 2.

    Files whose names have no number are in the order of their names.
    """
    for before, after in pairwise(files):
        if (
            before.parent == after.parent
            and _list_numbers(before) > _list_numbers(after)
            and _is_same_text(before, after)
        ):
            raise UserError(
                f"{option}: expected frames whose names sort in their order (found {before.name} before {after.name}); "
                "number them with leading zeros, such as 0002.png"
            )


def _list_numbers(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)]


def _is_same_text(*paths: Path) -> bool:
    """Return whether the names differ in numbers only."""
    return len({re.sub(r"\d+", "0", path.stem) for path in paths}) == 1
