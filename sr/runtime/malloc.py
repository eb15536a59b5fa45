"""Make glibc's malloc retain the memory that a training step, or a tile of a prediction, frees for the next one.

glibc returns large blocks to the system as soon as they are freed, until it has seen larger blocks freed (its threshold is
dynamic). Each step's activations then come as new pages, which the system clears one by one: up to a third of a bare
loop's step on a CPU. A training that has evaluated whole images has mostly raised the threshold already, and gains little
(experiments/speed).
"""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's parameter numbers, from malloc.h
MAX_THRESHOLD = 2**31 - 1  # bytes, the largest value that mallopt accepts
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def retain_freed_memory() -> None:
    """Make this process retain freed memory. Do nothing if the user has tuned glibc, or on a system without glibc."""
    if sys.platform != "linux" or any(name in os.environ for name in VARIABLES):
        return  # Windows cannot open its own process as a library
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, MAX_THRESHOLD)
        mallopt(TRIM_THRESHOLD, MAX_THRESHOLD)


def return_freed_memory() -> None:
    """Return what this process retains to the system: blocks of many sizes leave holes, which add up."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:
        malloc_trim(0)
