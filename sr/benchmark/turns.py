"""Measure the speed of trainings in turns of a second: one process is paused while the other one works.

So all of them meet the same machine, although its speed changes from minute to minute.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NamedTuple

import psutil

from sr.runtime.error import UserError
from sr.runtime.signals import signals

TURN_SECONDS = 1.0
MIN_STEPS = 3
WARM_UP_STEPS = 10
WARM_UP_SECONDS = 2.0  # at least, of these steps
WAIT_SECONDS = 0.2  # between two looks at the steps of a training that begins


class EndlessTraining(NamedTuple):
    """A process that trains without end."""

    words: Sequence[str]  # of `python -m WORDS`
    input: str  # of its standard input
    read_times: Callable[[], list[float]]  # when each step ended, in seconds since 1970


class Turn(NamedTuple):
    """Begin and end of a turn, in seconds since 1970."""

    start: float
    end: float


def measure_rates(trainings: Sequence[EndlessTraining], seconds: float, threads: int, part: str) -> list[float]:
    """Return the steps per second of each training, which works for about `seconds` after its warm-up.

    `part` of the benchmark is named if one fails.
    """
    turns: list[list[Turn]] = [[] for _ in trainings]
    with signals.handle(), ExitStack() as stack:  # SIGTERM as well must not leave trainings without end behind
        processes = [stack.enter_context(_start(training, threads, part)) for training in trainings]
        for _ in range(max(1, round(seconds / TURN_SECONDS))):
            for process, own in zip(processes, turns, strict=True):
                start = time.time()
                process.resume()
                time.sleep(TURN_SECONDS)
                process.suspend()
                own.append(Turn(start, time.time()))

        rates = []
        for training, process, own in zip(trainings, processes, turns, strict=True):
            process.resume()  # a training may write its last steps a little later
            _wait_for(training, process, part, partial(_has_step_after, own[-1].end))
            process.suspend()
            rates.append(compute_rate(training.read_times(), own))
        return rates


def compute_rate(times: Sequence[float], turns: Sequence[Turn]) -> float:
    """Return the steps per second of a training that worked in its turns alone, from the first step's end to the last's."""
    ends = [time for time in times if turns[0].start < time <= turns[-1].end]
    if len(ends) < MIN_STEPS:
        raise UserError(f"seconds: expected the time of {MIN_STEPS} steps or more (found {len(ends)} steps); raise it")
    worked = sum(max(0.0, min(ends[-1], turn.end) - max(ends[0], turn.start)) for turn in turns)
    return (len(ends) - 1) / worked


@contextmanager
def _start(training: EndlessTraining, threads: int, part: str) -> Iterator[psutil.Popen]:
    """Start a training; yield its process, which has warmed up and is paused, and stop it at the end."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as source, tempfile.TemporaryFile("w+") as errors:
        source.write(training.input)
        source.seek(0)
        command = [sys.executable, "-m", *training.words]
        process = psutil.Popen(
            command, stdin=source, stdout=subprocess.DEVNULL, stderr=errors, env=environment, text=True
        )
        try:
            try:
                _wait_for(training, process, part, _has_warmed_up)
            except UserError as error:
                errors.seek(0)
                raise UserError(f"{error}: {errors.read().strip()[-300:]}") from None
            process.suspend()
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.kill()
            process.wait()


def _has_step_after(moment: float, times: list[float]) -> bool:
    return times[-1] > moment


def _has_warmed_up(times: list[float]) -> bool:
    return len(times) > WARM_UP_STEPS and times[-1] - times[0] > WARM_UP_SECONDS


def _wait_for(
    training: EndlessTraining, process: psutil.Popen, part: str, is_reached: Callable[[list[float]], bool]
) -> None:
    while not is_reached(training.read_times()):
        if process.poll() is not None:
            raise UserError(f"parts=[{part}]: {' '.join(training.words)} has failed")
        time.sleep(WAIT_SECONDS)
