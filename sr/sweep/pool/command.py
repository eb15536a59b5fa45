"""Run a trial as a command in a process of its own: its exit code is exact, and its memory is freed after it."""

import os
import signal
import subprocess
import sys

from sr.sweep.pool.pool import Task, TrialJob

TIMEOUT_SIGNAL = "SIGUSR2"  # by which SLURM announces the end of a job's time; Windows has none


def start_command(task: Task) -> subprocess.Popen:
    """Start the program of a trial with this Python."""
    with task.log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *task.program],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | task.variables,
            cwd=task.folder,
        )


def run_command(task: Task) -> int:
    """Run the program of a trial to its end, and return its exit code; a signal interrupts it."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, TIMEOUT_SIGNAL):
        numbers.append(getattr(signal, TIMEOUT_SIGNAL))
        signal.signal(numbers[-1], signal.SIG_IGN)  # the program inherits that: SLURM sends the signal to it as well
    process = start_command(task)
    for number in numbers:
        signal.signal(number, lambda *_: process.terminate())
    return process.wait()


class CommandJob(TrialJob):
    """A trial on this machine, as a new Python process."""

    def __init__(self, task: Task) -> None:
        self._process = start_command(task)

    @property
    def has_ended(self) -> bool:
        self.exit_code = self._process.poll() or 0
        return self._process.returncode is not None

    def kill(self) -> None:
        self._process.kill()
