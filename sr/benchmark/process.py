"""Measure whole processes: their processor time and peak memory, in turns."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sr.runtime.error import UserError
from sr.runtime.malloc import MAX_THRESHOLD

RETAIN = {"MALLOC_TRIM_THRESHOLD_": str(MAX_THRESHOLD), "MALLOC_MMAP_THRESHOLD_": str(MAX_THRESHOLD)}
# A small process between this one and the measured one: the system counts the peak of a process from that of its parent.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
kib = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(usage.ru_utime + usage.ru_stime, kib, wall)
sys.exit(code)
"""


class Cost(NamedTuple):
    """The cost of a process and of those that it waits for."""

    seconds: float  # of the processor, of all threads, user and system
    megabytes: float  # peak of the resident memory
    wall_seconds: float


def measure_process(
    part: str,
    words: Sequence[str],
    threads: int,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    python: str | None = None,
) -> Cost:
    """Run `python -m WORDS` in `folder` and return its cost; `part` of the benchmark is named if it fails.

    glibc's malloc returns freed memory as usual, unless `variables` (`RETAIN`) say otherwise. `python` is the
    interpreter of another environment, which does not get this one's packages.
    """
    environment = {k: v for k, v in os.environ.items() if k not in RETAIN}
    environment |= {"OMP_NUM_THREADS": str(threads), **(variables or {})}
    if python is None:
        environment["PYTHONPATH"] = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    interpreter = [sys.executable, "-P"] if python is None else [python]  # -P: of Python 3.11 and later
    command = [sys.executable, "-I", "-S", "-c", LAUNCHER, *interpreter, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    if done.returncode:
        raise UserError(f"parts=[{part}]: {words[0]} has failed: {done.stderr.strip()[-300:]}")
    seconds, kilobytes, wall_seconds = done.stdout.split()
    return Cost(float(seconds), int(kilobytes) * 1024 / 1e6, float(wall_seconds))


def measure_in_turns(sides: Mapping[str, Callable[[], Cost]], rounds: int, title: str) -> dict[str, list[Cost]]:
    """Return the costs of each side in each round; the side that begins changes."""
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    names = list(sides)
    for k in range(rounds):
        print(f"{title}: round {k + 1} of {rounds}", file=sys.stderr)
        for side in [*names[k % len(names) :], *names[: k % len(names)]]:
            costs[side].append(sides[side]())
    return costs
