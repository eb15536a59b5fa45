"""What the user sees: progress bars, tables, and no hint of a library that does not hold."""

import logging
import re
import sys
import warnings
from typing import Any

from tqdm import tqdm

QUIET_INTERVAL = 15.0  # seconds between lines where there is no terminal to redraw


def create_progress_bar(total: int, desc: str, unit: str = "image") -> tqdm:
    """A bar with rate and time left; shown after a second, and seldom where there is no terminal to redraw."""
    live = sys.stderr.isatty()
    interval = 0.1 if live else QUIET_INTERVAL
    return tqdm(total=total, desc=desc, unit=unit, delay=1, mininterval=interval, maxinterval=max(10.0, interval))


def format_table(rows: list[tuple[Any, ...]]) -> str:
    """Rows in columns; the first row is the head, the first column is flushed left."""
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join(
            str(c).ljust(w) if k == 0 else str(c).rjust(w) for k, (c, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def silence_library_warnings() -> None:
    """Lightning's hints that do not hold here are left out; a warning of ours is one line, without its place in the code."""
    usual = warnings.formatwarning

    def plainly(message: Warning | str, *where: Any, **more: Any) -> str:
        ours = re.match(r"(model|data|trainer)\.", str(message))
        return f"note: {message}\n" if ours else usual(message, *where, **more)

    warnings.formatwarning = plainly
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*functools.lru_cache.*",  # imresize keeps its weights
        ".*resuming from a checkpoint that ended before the epoch ended.*",  # `Draws` leaves out what was seen
        ".*Total length of `list` across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", text)
