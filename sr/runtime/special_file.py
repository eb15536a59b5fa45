"""Recognize what can be opened but is no file: named pipes, sockets and devices."""

import stat
from pathlib import Path


def describe_special_file(path: Path) -> str:
    """Return what a path is if it can be opened but is no file: a FIFO, a device or a socket; else an empty string.

    To open a FIFO waits for a writer, and a device may never end; both are refused.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    kinds = {
        stat.S_IFIFO: "a FIFO (named pipe)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "")
