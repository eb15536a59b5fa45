"""The result of a sweep: its tables, written after each trial, and what its command prints at the end."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sr.config.command_line import find_python
from sr.record.identity import write_atomic
from sr.runtime.redact import mask_passwords
from sr.sweep.page_writer import PAGE_FILE
from sr.sweep.scheduler import LOG_FOLDER, list_failures
from sr.sweep.space import to_words
from sr.sweep.study import Study
from sr.sweep.table import format_trials, trials_to_csv

TABLE_FILE, CSV_FILE = "table.txt", "trials.csv"
EXIT_FAILURES = 3  # some trials failed
MAX_COMMANDS = 5  # of trials on the Pareto front


@dataclass
class SweepResult:
    """The result of a study so far."""

    study: Study
    folder: Path  # of the sweep
    objectives: Sequence[str]
    keys: Sequence[str]  # the options that vary
    words: Sequence[str]  # of every trial: flags and overrides

    def write(self) -> None:
        """Write the table and the CSV file into the sweep's folder."""
        trials, front = self.study.sort_trials(), self._list_front()
        write_atomic(self.folder / TABLE_FILE, format_trials(trials, self.objectives, self.keys, front) + "\n")
        text = trials_to_csv(trials, self.objectives, self.keys, front, self.format_command, self.study.total)
        write_atomic(self.folder / CSV_FILE, text)

    def print(self, can_grow: bool, has_tests: bool) -> None:
        """Print the table and the commands that come next, and exit with 3 if trials have failed.

        `can_grow`: the sweep may get more trials, as a grid may not. `has_tests`: the trials have test results.
        """
        trials, failures = self.study.sort_trials(), list_failures(self.study)
        print("\n" + format_trials(trials, self.objectives, self.keys, self._list_front()))
        print(f"\nsweep       {self.folder}")
        print(f"page        {self.folder / PAGE_FILE}")
        self._print_best(trials)
        if has_tests:
            folder = [word for word in self.words if word.startswith("paths.runs=")]
            words = [self._python, "-m", "sr.compare", f"runs=sweep:{self.folder.name}", *folder]
            print(f"compare     {shlex.join(words)}")
        if can_grow:
            print(f"more        the same command with sweep.trials={2 * max(self.study.total, len(trials))}")
        print("again       the same command with sweep.name=…")
        if failures:
            print(
                f"{len(failures)} of {len(trials)} trials failed; their output is in {self.folder / LOG_FOLDER}",
                file=sys.stderr,
            )
            raise SystemExit(EXIT_FAILURES)

    def format_command(self, trial: FrozenTrial) -> str:
        """Return the command of a trial, ready to be pasted into a shell; it is stored, so without passwords."""
        words = map(mask_passwords, self.words)
        return shlex.join([self._python, "-m", "sr.run", *words, *to_words(dict(trial.params))])

    @cached_property
    def _python(self) -> str:
        return find_python()

    def _print_best(self, trials: Sequence[FrozenTrial]) -> None:
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        front = self._list_front()
        if not complete:
            print("best trial  none: no trial has finished")
        elif not front:
            print(f"best trial  {self.format_command(complete[0])}")
        for trial in complete[: min(len(front), MAX_COMMANDS)]:
            print(f"front {trial.number:<5} {self.format_command(trial)}")
        if len(front) > MAX_COMMANDS:
            print(f"front       {len(front)} trials in all; {self.folder / CSV_FILE} has the command of each")

    def _list_front(self) -> set[int]:
        """Return the numbers of the trials on the Pareto front; none with one objective."""
        return {trial.number for trial in self.study.list_best()} if len(self.objectives) > 1 else set()
