"""Output on the terminal: progress bars, tables, and warnings in one line or not at all."""

import logging
import math
import re
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from sr.runtime.launch import find_rank

TABLE_WIDTH = 80  # characters, of a terminal as it opens
LOG_INTERVAL = 60.0  # seconds between lines of progress where the output is no terminal
LOG_FORMAT = "{desc}: {percentage:3.0f}%, {n_fmt} of {total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
MISLEADING_WARNINGS = (  # of Lightning and PyTorch, which do not apply to this project
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*functools.lru_cache.*",  # imresize caches its weights
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # our sampler skips the batches already seen
    ".*Total length of `list` across ranks is zero.*",
)
OUR_WARNINGS = r"(model|data|trainer)\."  # they start with an option


def format_count(number: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{number} {noun}{'s' * (number != 1)}"


class ProgressBar(tqdm):
    """A bar of tqdm in a terminal; elsewhere, as in a log file, a line a minute; nothing at all with `progress=false`."""

    is_enabled = True  # the option `progress`

    def __init__(self, *args: Any, **options: Any) -> None:
        self._is_terminal = (options.get("file") or sys.stderr).isatty()
        self._last_line, self._last_n = time.monotonic(), None  # time and count of the last line
        if not self._is_terminal:
            options |= {"mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL, "bar_format": LOG_FORMAT}
        super().__init__(*args, **options, disable=not self.is_enabled)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or write its line if the last one is long enough ago, whoever asks for it."""
        if self._is_terminal:
            return super().display(msg, pos)
        if time.monotonic() - self._last_line >= LOG_INTERVAL:
            self._write_line()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Clear the bar for a message, which a line does not need."""
        if self._is_terminal:
            super().clear(nolock)

    def close(self) -> None:
        """Leave the bar as it is, or write a last line if there were any."""
        if not getattr(self, "disable", True) and not self._is_terminal:
            self.delay = math.inf  # tqdm has nothing to clear
            if self._last_n not in (None, self.n):
                self._write_line()
        super().close()

    def _write_line(self) -> None:
        self.fp.write(f"{self}\n")
        self.fp.flush()
        self._last_line, self._last_n = time.monotonic(), self.n


def create_progress_bar(total: int, desc: str, unit: str = "image") -> ProgressBar:
    """Return a bar with rate and remaining time; it appears after a second."""
    return ProgressBar(total=total, desc=desc, unit=unit, delay=1)


def format_bytes(count: float) -> str:
    """Return a size in a unit that fits: `41.3 kB`, `1.2 GB`."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"


def print_note(text: str) -> None:
    """Print `note: …` on stderr; of the processes that train together, only the first one does."""
    if not find_rank():
        print(f"note: {text}", file=sys.stderr)


def format_table(rows: Sequence[tuple[Any, ...]], width: int | None = None) -> str:
    """Format rows in columns: the first row is the header, the first column is left-aligned, the others right-aligned.

    Columns beyond `width` characters follow in further tables below, each with the first column, which gets half of it
    at most.
    """
    if width:
        rows = [(_shorten(str(row[0]), width // 2), *row[1:]) for row in rows]
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    tables: list[list[int]] = [[0]]
    for k in range(1, len(widths)):
        if width and len(tables[-1]) > 1 and sum(widths[i] + 2 for i in tables[-1]) + widths[k] > width:
            tables.append([0])
        tables[-1].append(k)
    return "\n\n".join(_format_columns(rows, columns, widths) for columns in tables)


def _shorten(text: str, length: int) -> str:
    """Cut the middle out of a text that is longer than `length`: names often differ at their ends."""
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-(length // 2) :]}"


def _format_columns(rows: Sequence[tuple[Any, ...]], columns: Sequence[int], widths: Sequence[int]) -> str:
    lines = []
    for row in rows:
        cells = [str(row[k]).rjust(widths[k]) if k else str(row[k]).ljust(widths[k]) for k in columns]
        lines.append("  ".join(cells))
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


_format_default = warnings.formatwarning


def _format_warning(message: Warning | str, *args: Any, **kwargs: Any) -> str:
    is_ours = re.match(OUR_WARNINGS, str(message))
    return f"note: {message}\n" if is_ours else _format_default(message, *args, **kwargs)


def silence_library_warnings() -> None:
    """Ignore misleading warnings of libraries, and print our own in one line, without their place in the code.

    Of the processes that train together, only the first one prints our own.
    """
    warnings.formatwarning = _format_warning  # once in a process, however many runs a sweep has
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for pattern in MISLEADING_WARNINGS:
        warnings.filterwarnings("ignore", pattern)
    if find_rank():
        warnings.filterwarnings("ignore", OUR_WARNINGS)
