"""Run the trials of a sweep: `sweep.jobs` at a time, each in a process of its own, until the study has all of them."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import Trial, TrialState

from sr.config.command_line import quote_override
from sr.pretrained.archive import is_intact
from sr.record.checkpoint_files import RESUMABLE
from sr.sweep.objective import read_values
from sr.sweep.space import to_words
from sr.sweep.study import FOLDER, SECONDS, Study
from sr.sweep.trial_process import EXIT_INTERRUPTED, TrialProcess

LOG_FOLDER = "trials"
POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 120.0  # in which interrupted trials write their checkpoints


@dataclass
class RunningTrial:
    """A trial and its process."""

    trial: Trial
    process: TrialProcess
    is_pruned: bool = False


@dataclass
class Scheduler:
    """Starts trials, answers their reports, and records how they end."""

    study: Study
    folder: Path  # of the sweep
    base: Sequence[str]  # words of every trial: flags and overrides
    objectives: list[str]
    jobs: int
    report: Callable[[], None]  # called after each trial
    running: list[RunningTrial] = field(default_factory=list)

    def run(self) -> None:
        """Run all missing trials. An interruption ends the running ones with a checkpoint, and is raised again."""
        signal.signal(signal.SIGTERM, _raise_interrupt)
        unfinished = self.study.list_unfinished()
        try:
            while True:
                while len(self.running) < self.jobs and (
                    trial := unfinished.pop(0) if unfinished else self.study.start_trial()
                ):
                    self._start(trial)
                if not self.running:
                    return
                time.sleep(POLL_SECONDS)
                for running in list(self.running):
                    self._poll(running)
        except KeyboardInterrupt:
            self._interrupt_all()
            raise

    def _start(self, trial: Trial) -> None:
        """Start a trial, or go on with it: it is recorded if its run has finished, resumed if it has a checkpoint."""
        folder = trial.user_attrs.get(FOLDER)
        if folder and self._record_success(trial, Path(folder)):
            return
        words = [*self.base, *to_words(dict(trial.params))]
        if folder and any(is_intact(Path(folder) / name) for name in RESUMABLE):
            words.append(f"resume={quote_override(folder)}")
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        log = self.folder / LOG_FOLDER / f"{trial.number:03}.log"
        log.parent.mkdir(exist_ok=True)
        options = " ".join(to_words(dict(trial.params)))
        print(f"trial {trial.number + 1} of {self.study.total}: {options}", file=sys.stderr)
        self.running.append(RunningTrial(trial, TrialProcess(self.folder.name, trial.number, words, log, threads)))

    def _poll(self, running: RunningTrial) -> None:
        """Answer what a trial has reported, and record its end."""
        has_ended = running.process.has_ended  # read first: no message can follow
        for message in running.process.receive():
            if "folder" in message:
                running.trial.set_user_attr(FOLDER, message["folder"])
            else:
                running.is_pruned = running.is_pruned or self._should_prune(running.trial, message)
            running.process.answer(running.is_pruned)
        if has_ended:
            self.running.remove(running)
            self._record_end(running)
            self.report()

    def _should_prune(self, trial: Trial, message: dict[str, float]) -> bool:
        if len(self.objectives) > 1:  # Optuna prunes by one value only
            return False
        trial.report(message["value"], int(message["step"]))
        return trial.should_prune()

    def _record_end(self, running: RunningTrial) -> None:
        trial, process = running.trial, running.process
        process.close()
        trial.set_user_attr(SECONDS, round(process.seconds, 1))
        folder = trial.user_attrs.get(FOLDER)
        if process.process.returncode == EXIT_INTERRUPTED:
            raise KeyboardInterrupt  # it was interrupted by itself, or with this process
        if process.process.returncode != 0:
            self.study.record_failure(trial, process.read_reason())
        elif running.is_pruned:
            self.study.record_pruned(trial.number)
        elif folder is None or not self._record_success(trial, Path(folder)):
            names = ", ".join(self.objectives)
            self.study.record_failure(trial, f"its run has no value of {names}")

    def _record_success(self, trial: Trial, folder: Path) -> bool:
        """Record the objectives of a trial whose run has finished; return False if it has not."""
        values = read_values(folder, self.objectives)
        if values is None:
            return False
        self.study.record_success(trial.number, values)
        return True

    def _interrupt_all(self) -> None:
        """Let the running trials end with a checkpoint; they remain unfinished in the study."""
        print("\nthe running trials end with a checkpoint …", file=sys.stderr)
        for running in self.running:
            running.process.process.send_signal(signal.SIGINT)  # a terminal has sent it to them already: no harm
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while any(not running.process.has_ended for running in self.running) and time.monotonic() < deadline:
            for running in self.running:
                for message in running.process.receive():
                    if "folder" in message:
                        running.trial.set_user_attr(FOLDER, message["folder"])
                    running.process.answer(False)
            time.sleep(POLL_SECONDS)
        for running in self.running:
            if not running.process.has_ended:
                running.process.process.kill()


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def list_failures(study: Study) -> list[int]:
    """Return the numbers of the trials that failed."""
    return [trial.number for trial in study.trials if trial.state == TrialState.FAIL]
