"""Output on the terminal: progress bars, tables, and warnings in one line or not at all."""

import logging
import re
import sys
import warnings
from typing import Any

from tqdm import tqdm

NON_TTY_INTERVAL = 15.0  # seconds between lines of progress where the output is no terminal
MISLEADING_WARNINGS = (  # of Lightning and PyTorch, which do not apply to this project
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*functools.lru_cache.*",  # imresize caches its weights
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # our sampler skips the batches already seen
    ".*Total length of `list` across ranks is zero.*",
)


def create_progress_bar(total: int, desc: str, unit: str = "image") -> tqdm:
    """Return a bar with rate and remaining time; it appears after a second, and rarely where there is no terminal."""
    interval = 0.1 if sys.stderr.isatty() else NON_TTY_INTERVAL
    return tqdm(total=total, desc=desc, unit=unit, delay=1, mininterval=interval, maxinterval=max(10.0, interval))


def format_table(rows: list[tuple[Any, ...]]) -> str:
    """Format rows in columns: the first row is the header, the first column is left-aligned, the others right-aligned."""
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (str(cell) for cell in row)
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells))
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def silence_library_warnings() -> None:
    """Ignore misleading warnings of libraries, and print our own in one line, without their place in the code."""
    format_default = warnings.formatwarning

    def format_warning(message: Warning | str, *args: Any, **kwargs: Any) -> str:
        is_ours = re.match(r"(model|data|trainer)\.", str(message))  # they start with an option
        return f"note: {message}\n" if is_ours else format_default(message, *args, **kwargs)

    warnings.formatwarning = format_warning
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for pattern in MISLEADING_WARNINGS:
        warnings.filterwarnings("ignore", pattern)
