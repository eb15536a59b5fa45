"""Run the trials of a sweep: as many at a time as the pool has jobs, until the study has all of them.

Only the scheduler chooses trials and talks to Optuna, so that their number is exact.
"""

import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from sr.config.command_line import quote_override
from sr.pretrained.archive import is_intact
from sr.record.checkpoint_files import RESUMABLE
from sr.record.identity import read_identity
from sr.record.trial import CHANNEL_VARIABLE, NAME_VARIABLE, NUMBER_VARIABLE
from sr.sweep.channel import Channel, send_heartbeats
from sr.sweep.objective import read_values
from sr.sweep.pool.pool import EXIT_INTERRUPTED, Pool, Task, TrialJob, read_reason
from sr.sweep.progress import SweepProgress
from sr.sweep.space import to_words
from sr.sweep.study import FOLDER, INTERRUPTIONS, JOB, PRUNED, SECONDS, Study

PROGRAM = ("-m", "sr.run")
LOG_FOLDER = "trials"
POLL_SECONDS, CLUSTER_POLL_SECONDS = 0.05, 0.5  # the file system of a cluster has other work as well
SHUTDOWN_SECONDS = 120.0  # in which interrupted trials write their checkpoints
EXITS_INTERRUPTED = (EXIT_INTERRUPTED, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
MAX_INTERRUPTIONS = 20  # of one trial by the machines of a pool


@dataclass
class RunningTrial:
    """A trial, its job in the pool, and its channel."""

    trial: Trial
    job: TrialJob
    channel: Channel
    log: Path
    start_time: float = field(default_factory=time.monotonic)
    has_begun: bool = False  # it has sent something


@dataclass
class Scheduler:
    """Starts trials, answers their reports, and records how they end."""

    study: Study
    folder: Path  # of the sweep
    base: Sequence[str]  # words of every trial: flags and overrides
    objectives: list[str]
    jobs: int
    report: Callable[[], None]  # called after each trial
    pool: Pool
    running: list[RunningTrial] = field(default_factory=list)
    unfinished: list[Trial] = field(default_factory=list)  # which were interrupted, and come first
    progress: SweepProgress | None = None

    def run(self) -> None:
        """Run all missing trials. An interruption ends the running ones with a checkpoint, and is raised again."""
        signal.signal(signal.SIGTERM, _raise_interrupt)
        with send_heartbeats(self.folder):
            try:
                self._take_over()
                while True:
                    while len(self.running) < self.jobs and (trial := self._choose_trial()):
                        self._start(trial)
                    if not self.running:
                        return
                    time.sleep(CLUSTER_POLL_SECONDS if self.pool.is_cluster else POLL_SECONDS)
                    for running in list(self.running):
                        self._poll(running)
                    if self.progress:
                        self.progress.update()
            except BaseException:  # an error of the pool as well: nothing of the running trials is lost
                self._interrupt_all()
                raise
            finally:
                self.pool.close()

    def _take_over(self) -> None:
        """Take over the trials of an earlier process of this sweep, and wait until none of them runs any longer."""
        self.unfinished = self.study.list_unfinished()
        by_number = {trial.number: trial for trial in self.unfinished}
        for channel in Channel.list_existing(self.folder):
            if channel.number in by_number:
                self._record_messages(by_number[channel.number], channel.receive())
            channel.remove()  # its run ends with a checkpoint
        for trial in self.unfinished:
            if job_id := trial.user_attrs.get(JOB):
                self.pool.cancel(job_id)
        for trial in self.unfinished:
            _wait_for_end(trial)

    def _choose_trial(self) -> Trial | None:
        return self.unfinished.pop(0) if self.unfinished else self.study.start_trial()

    def _start(self, trial: Trial) -> None:
        """Start a trial, or go on with it: it is recorded if its run has finished, resumed if it has a checkpoint."""
        folder = trial.user_attrs.get(FOLDER)
        if folder and self._record_success(trial, Path(folder)):
            return
        words = [*self.base, *to_words(dict(trial.params))]
        if folder and any(is_intact(Path(folder) / name) for name in RESUMABLE):
            words.append(f"resume={quote_override(folder)}")
        log = self.folder / LOG_FOLDER / f"{trial.number:03}.log"
        log.parent.mkdir(exist_ok=True)
        options = " ".join(to_words(dict(trial.params)))
        if self.progress:
            self.progress.write(f"trial {trial.number}: {options}")
        channel = Channel.create(self.folder, trial.number)
        variables = {NAME_VARIABLE: self.folder.name, NUMBER_VARIABLE: str(trial.number)}
        variables[CHANNEL_VARIABLE] = str(channel.folder)
        job = self.pool.start(Task([*PROGRAM, *words], log, variables, f"{self.folder.name}-{trial.number}"))
        self.running.append(RunningTrial(trial, job, channel, log))
        if job.id:
            trial.set_user_attr(JOB, job.id)

    def _poll(self, running: RunningTrial) -> None:
        """Answer what a trial has reported, and record its end."""
        has_ended = running.job.has_ended  # read first: no message can follow
        messages = running.channel.receive()
        running.has_begun = running.has_begun or bool(messages)
        self._record_messages(running.trial, messages)
        for message in messages:
            if "value" in message:
                running.channel.answer(self._should_prune(running.trial))
        if has_ended:
            self.running.remove(running)
            self._record_end(running)
            running.channel.remove()
            self._report()

    def _report(self) -> None:
        try:
            self.report()
        except Exception as error:  # whatever a page needs: the sweep goes on without it
            print(f"note: the results so far could not be written ({type(error).__name__}: {error})", file=sys.stderr)

    def _record_messages(self, trial: Trial, messages: list[dict[str, Any]]) -> None:
        """Store the folder of a trial's run, by which it is resumed, and the values of its validations."""
        for message in messages:
            if "folder" in message:
                trial.set_user_attr(FOLDER, message["folder"])
            if "value" in message and len(self.objectives) == 1:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # it was recorded before the sweep was killed
                    trial.report(message["value"], int(message["step"]))

    def _should_prune(self, trial: Trial) -> bool:
        if len(self.objectives) > 1:  # Optuna prunes by one value only
            return False
        if trial.user_attrs.get(PRUNED) or not trial.should_prune():
            return trial.user_attrs.get(PRUNED, False)
        trial.set_user_attr(PRUNED, True)  # its run will end as a finished one
        return True

    def _record_end(self, running: RunningTrial) -> None:
        trial, code = running.trial, running.job.exit_code
        trial.set_user_attr(SECONDS, round(time.monotonic() - running.start_time, 1))
        folder = trial.user_attrs.get(FOLDER)
        if code in EXITS_INTERRUPTED:
            self._continue_interrupted(trial)
        elif code != 0:
            self.study.record_failure(trial, read_reason(code, running.log))
        elif trial.user_attrs.get(PRUNED):
            self.study.record_pruned(trial.number)
        elif folder is None or not self._record_success(trial, Path(folder)):
            self.study.record_failure(trial, f"its run has no value of {', '.join(self.objectives)}")

    def _continue_interrupted(self, trial: Trial) -> None:
        """Resume a trial that a machine of the pool has ended; on this machine, it was the user who interrupted it."""
        if not self.pool.is_cluster:
            raise KeyboardInterrupt
        interruptions = trial.user_attrs.get(INTERRUPTIONS, 0) + 1
        trial.set_user_attr(INTERRUPTIONS, interruptions)
        if interruptions > MAX_INTERRUPTIONS:
            self.study.record_failure(trial, f"interrupted {interruptions} times; give it more time or another queue")
        else:
            self.unfinished.append(trial)

    def _record_success(self, trial: Trial, folder: Path) -> bool:
        """Record a trial whose run has finished, pruned or with its objectives; return False if it has not finished."""
        values = read_values(folder, self.objectives)
        if values is None:
            return False
        if trial.user_attrs.get(PRUNED):
            self.study.record_pruned(trial.number)
        else:
            self.study.record_success(trial.number, values)
        return True

    def _interrupt_all(self) -> None:
        """Let the running trials end with a checkpoint; they remain unfinished in the study."""
        if self.running:
            print("\nthe running trials end with a checkpoint …", file=sys.stderr)
        for channel in Channel.list_existing(self.folder):  # also of a trial that is only now being started
            channel.interrupt()
        for running in self.running:
            if self.pool.is_cluster and not running.has_begun:  # it may wait for a machine for days
                running.job.kill()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while self.running and time.monotonic() < deadline:
            for running in list(self.running):
                has_ended = running.job.has_ended
                self._record_messages(running.trial, running.channel.receive())
                if has_ended:
                    self.running.remove(running)
                    running.channel.remove()
            time.sleep(POLL_SECONDS)
        for running in self.running:
            running.job.kill()


def _wait_for_end(trial: Trial) -> None:
    """Wait until no process runs this trial any longer."""
    folder = trial.user_attrs.get(FOLDER)
    is_reported = False
    while folder and (identity := read_identity(Path(folder))) and identity.is_alive:
        if not is_reported:
            is_reported = True
            where = f"process {identity.pid} on {identity.host}"
            print(f"trial {trial.number} still runs ({where}): waiting for its checkpoint …", file=sys.stderr)
        time.sleep(POLL_SECONDS)


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def list_failures(study: Study) -> list[int]:
    """Return the numbers of the trials that failed."""
    return [trial.number for trial in study.trials if trial.state == TrialState.FAIL]
