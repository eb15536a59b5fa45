"""The trials of a sweep, as Optuna stores them: a journal in the sweep's folder that survives a kill at any moment."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
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
REUSED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)  # one that failed may have lacked memory, and is run again
COMMITS = "commits"  # attribute of a trial and of the study: the commits of sr that it ran on, in their order
SEQUENCE_SAMPLER = "QMCSampler"  # its numbers are one sequence, which the seed scrambles


class Study:
    """An Optuna study with a defined total of trials. Only one process may have it open (`lock_sweep`)."""

    def __init__(
        self,
        folder: Path,
        space: Space,
        settings: dict[str, Any],
        directions: list[Direction],
        seed: int,
        commit: str | None = None,
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
        self._sampler, self._seed, self._commit = settings["sampler"], seed, commit
        add_commit(self._study, commit)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def list_unfinished(self) -> list[Trial]:
        """Return the trials that were running when the sweep was interrupted; they go on with the present commit."""
        numbers = [trial._trial_id for trial in self.trials if trial.state == TrialState.RUNNING]
        trials = [Trial(self._study, number) for number in numbers]
        for trial in trials:
            add_commit(trial, self._commit)
        return trials

    def start_trial(self) -> Trial | None:
        """Choose the options of the next trial; None if the sweep has all its trials.

        A sampler may choose the options of an earlier trial again. The result would be the same, bit for bit, so that such
        a trial gets it at once, and the next one is chosen.
        """
        while len(trials := self.trials) < self.total:
            if self._points is not None:
                self._study.sampler = PartialFixedSampler(self._points[len(trials)], RandomSampler())
            else:
                self._study.sampler = self._build_sampler(len(trials))
            trial = self._study.ask(self._distributions)
            earlier = next((t for t in trials if t.params == trial.params and t.state in REUSED_STATES), None)
            if earlier is None:
                add_commit(trial, self._commit)
                return trial
            self._copy_result(earlier, trial)
        return None

    def _copy_result(self, earlier: FrozenTrial, trial: Trial) -> None:
        """Record that a trial has the options of an earlier one, and so its result."""
        trial.set_user_attr(REASON, f"the options of trial {earlier.number}, and so its result")
        for name in {FOLDER, COMMITS} & earlier.user_attrs.keys():
            trial.set_user_attr(name, earlier.user_attrs[name])
        trial.set_user_attr(SECONDS, 0.0)
        is_pruned = earlier.state == TrialState.PRUNED
        self._study.tell(trial.number, None if is_pruned else earlier.values, earlier.state)

    def _build_sampler(self, number: int) -> BaseSampler:
        """Build the sampler for one trial, with a random state of its own, so that a restart does not change the trials.

        Samplers store what they need of earlier trials in the study.
        """
        options = dict(self._sampler)
        seed = options.pop("seed", None)
        seed = self._seed if seed is None else seed
        if not options["_target_"].endswith(f".{SEQUENCE_SAMPLER}"):
            seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        return build_part(options, "sweep.sampler", seed=seed)

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

    @property
    def commits(self) -> list[str]:
        """The commits that the study has run on, in their order."""
        return self._study.user_attrs.get(COMMITS, [])

    def list_best(self) -> list[FrozenTrial]:
        """Return the best trial, or with several objectives the Pareto front: those that no other trial surpasses in all."""
        return self._study.best_trials

    def sort_trials(self) -> list[FrozenTrial]:
        """Return all trials: the best ones first, then those that were pruned, then the others.

        The best ones are sorted by the first objective; with several of them the Pareto front comes before the others.
        """
        front = {trial.number for trial in self.list_best()} if len(self.directions) > 1 else set()
        sign = -1 if self.directions[0] == "maximize" else 1
        order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)

        def get_rank(trial: FrozenTrial) -> tuple[int, bool, float, int]:
            value = sign * trial.values[0] if trial.state == TrialState.COMPLETE else 0.0
            return order.index(trial.state), trial.number not in front, value, trial.number

        return sorted(self.trials, key=get_rank)


def add_commit(owner: optuna.Study | Trial, commit: str | None) -> None:
    """Note that a study or a trial has run on this commit."""
    commits = owner.user_attrs.get(COMMITS, [])
    if commit and commits[-1:] != [commit]:
        owner.set_user_attr(COMMITS, [*commits, commit])
