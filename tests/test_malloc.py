"""The process retains the memory that a training step frees."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from sr.runtime import malloc

def count_page_faults():  # of allocating the same 64 MB ten times
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = count_page_faults()
malloc.retain_freed_memory()
bytearray(64 << 20)
print(first, count_page_faults())
"""


RETURN = """
import os
from pathlib import Path
from sr.runtime import malloc

def measure_memory():  # resident, in bytes
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

malloc.retain_freed_memory()
blocks = [bytearray(8 << 20) for _ in range(8)]
del blocks
before = measure_memory()
malloc.return_freed_memory()
print(before - measure_memory())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_retained_memory_is_returned() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    assert int(subprocess.check_output([sys.executable, "-c", RETURN], text=True, env=env)) > 60e6


def count_page_faults(**variables: str) -> list[int]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PROGRAM]
    return [int(n) for n in subprocess.check_output(command, text=True, env=env | variables).split()]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_unless_the_user_has_tuned_it() -> None:
    before, after = count_page_faults()
    assert after < before / 4
    before, after = count_page_faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert after > before / 2
