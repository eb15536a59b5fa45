"""The interface of a pool: where the trials of a sweep run. Trials report through files (`sr.record.trial`), not through it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sr.runtime.launch import THREADS, TRIAL_THREADS

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
MAX_REASON_LENGTH = 300
SIGKILL = 9


@dataclass(frozen=True)
class Task:
    """Describe what a trial runs: `python PROGRAM` with further environment variables, its output appended to a log."""

    program: Sequence[str]  # -m sr.run OVERRIDE …
    log: Path
    variables: dict[str, str] = field(default_factory=dict)
    name: str = "trial"
    folder: Path = field(default_factory=Path.cwd)  # in which it runs


class TrialJob(ABC):
    """A trial that a pool has started. Its exit code is negative if a signal ended it, as in `subprocess`."""

    id: str | None = None  # by which another process can cancel it, with `Pool.cancel`
    exit_code: int = 0  # once it has ended

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """True if nothing of the trial runs any longer."""

    @abstractmethod
    def kill(self) -> None:
        """End the trial at once, without a checkpoint."""


class Pool(ABC):
    """Runs trials, as many as it is given. `is_cluster`: they may wait for a machine, which may also end them early."""

    is_cluster = False

    @abstractmethod
    def start(self, task: Task) -> TrialJob:
        """Start a trial, or put it into a queue."""

    def cancel(self, job_id: str) -> None:  # noqa: B027  only queues outlive the process that sweeps
        """Cancel a job that an earlier process of this sweep has started, unless it has ended."""

    def close(self) -> None:  # noqa: B027  most need nothing
        """End what the pool has started for itself; no trial runs any longer."""


def add_threads(task: Task, threads: int) -> Task:
    """Return the task with so many threads, which its processes share, unless the user has set their number."""
    chosen = {} if THREADS in os.environ else {TRIAL_THREADS: str(threads)}
    count = os.environ.get(THREADS, str(threads))
    return replace(task, variables={**task.variables, **chosen, THREADS: count})


def read_reason(exit_code: int, log: Path) -> str:
    """Return why a trial failed, from its exit code and the last lines of its log."""
    if exit_code < 0:
        return f"ended by signal {-exit_code}" + (" (out of memory?)" if exit_code == -SIGKILL else "")
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    last = (errors or lines or [f"exit code {exit_code}"])[-1]
    return last.removeprefix("error: ")[:MAX_REASON_LENGTH]
