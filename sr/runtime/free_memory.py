"""Measure the memory that this process can still allocate: of the machine, or of its container if that has fewer."""

from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
FILES = (  # limit, usage, and the part of it that is cached files, which the system gives back: versions 2 and 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def measure_free_memory() -> int:
    """Return the free bytes of main memory."""
    free = psutil.virtual_memory().available
    for limit, used, statistics, cached in FILES:
        with suppress(OSError, ValueError, KeyError):  # no such control group, or no limit: `max`
            stated = dict(line.split() for line in (CGROUP / statistics).read_text().splitlines())
            used_bytes = int((CGROUP / used).read_text()) - int(stated[cached])
            free = min(free, max(0, int((CGROUP / limit).read_text()) - used_bytes))
    return free
