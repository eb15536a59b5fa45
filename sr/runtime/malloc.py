"""Memory that a training gives back at every step, only to ask for it again at the next one.

glibc returns large blocks to the system as soon as they are freed, until it has seen larger ones come and go. Each step's
activations then come as new pages, which the system clears one by one: up to a third of a bare loop's step on a CPU. A
training that has measured whole pictures has mostly taught glibc better, and gains little (experiments/speed).
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names for `mallopt`, in malloc.h
KEPT = 2**31 - 1  # bytes, the most that it takes
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def retain_freed_memory() -> None:
    """From here on this process keeps what it frees, for its next step. Does nothing where the user has tuned glibc, or
    where there is none."""
    if any(name in os.environ for name in VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, KEPT)
        mallopt(TRIM_THRESHOLD, KEPT)
