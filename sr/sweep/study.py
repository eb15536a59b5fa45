"""The trials of a sweep, as Optuna stores them: a journal in the sweep's folder that survives a kill at any moment."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from sr.config.build import build_part
from sr.sweep.objective import Direction
from sr.sweep.space import Space, list_points

JOURNAL_FILE = "study.journal"
LOCK_SECONDS = 5  # after which the lock of a killed process is taken over
FOLDER, REASON, SECONDS = "folder", "reason", "seconds"  # attributes of a trial
JOB, PRUNED, INTERRUPTIONS = "job", "pruned", "interruptions"  # further ones, that a restarted sweep needs


class Study:
    """An Optuna study with a defined total of trials. Only one process may have it open (`lock_sweep`)."""

    def __init__(
        self, folder: Path, space: Space, settings: dict[str, Any], directions: list[Direction], seed: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        file = str(folder / JOURNAL_FILE)
        storage = JournalStorage(
            JournalFileBackend(file, lock_obj=JournalFileOpenLock(file, grace_period=LOCK_SECONDS))
        )
        self._study = optuna.create_study(
            storage=storage,
            study_name="sweep",
            directions=directions,
            load_if_exists=True,
            pruner=build_part(settings["pruner"], "sweep.pruner"),
        )
        self.directions = directions
        self._distributions = {key: dimension.to_distribution() for key, dimension in space.items()}
        self._points = list(list_points(space)) if settings["sampler"] is None else None
        self.total = len(self._points) if self._points is not None else settings["trials"]
        if settings["sampler"] is not None:  # another seed after each restart: the same numbers would be drawn again
            self._study.sampler = build_part(settings["sampler"], "sweep.sampler", seed=seed + len(self.trials))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def list_unfinished(self) -> list[Trial]:
        """Return the trials that were running when the sweep was interrupted."""
        return [Trial(self._study, trial._trial_id) for trial in self.trials if trial.state == TrialState.RUNNING]

    def start_trial(self) -> Trial | None:
        """Choose the options of the next trial; None if the sweep has all its trials."""
        trials = self.trials
        if len(trials) >= self.total:
            return None
        if self._points is not None:
            begun = [trial.params for trial in trials]
            self._study.enqueue_trial(next(point for point in self._points if point not in begun))
        return self._study.ask(self._distributions)

    def record_success(self, number: int, values: list[float]) -> None:
        """Record the values of a trial that has finished."""
        self._study.tell(number, values)

    def record_pruned(self, number: int) -> None:
        """Record that a trial was ended early."""
        self._study.tell(number, state=TrialState.PRUNED)

    def record_failure(self, trial: Trial, reason: str) -> None:
        """Record that a trial has failed, and why."""
        trial.set_user_attr(REASON, reason)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def list_best(self) -> list[FrozenTrial]:
        """Return the best trial, or with several objectives the Pareto front: those that no other trial surpasses in all."""
        return self._study.best_trials

    def sort_trials(self) -> list[FrozenTrial]:
        """Return all trials, the best by the first objective first, then those that were pruned, then the others."""
        sign = -1 if self.directions[0] == "maximize" else 1
        order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)

        def get_rank(trial: FrozenTrial) -> tuple[int, float, int]:
            is_complete = trial.state == TrialState.COMPLETE
            return order.index(trial.state), sign * trial.values[0] if is_complete else 0.0, trial.number

        return sorted(self.trials, key=get_rank)
