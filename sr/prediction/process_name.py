"""The name of this process in file names, by which a later one finds out whether it has ended."""

import os
import platform

import psutil


def name_process() -> str:
    """Return HOST-PID."""
    return f"{_name_host()}-{os.getpid()}"


def is_process_ended(name: str) -> bool:
    """Return True if the process of this name has ended; of another machine it is not known, and so False."""
    host, _, number = name.rpartition("-")
    return host == _name_host() and number.isdecimal() and not psutil.pid_exists(int(number))


def _name_host() -> str:
    return "".join(c for c in platform.node() if c.isalnum() or c == "-")[:64]
