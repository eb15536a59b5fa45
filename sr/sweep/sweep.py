"""`python -m sr.run -m …`: begin a sweep, or continue the one that the same command began, until it has all its trials."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr.config import cli
from sr.config.build import build_part
from sr.config.quoting import MULTIRUN_FLAGS, split_words
from sr.record import git
from sr.record.identity import lock_run
from sr.runtime.error import UserError
from sr.runtime.terminal import format_count, print_note
from sr.sweep.definition import Definition, make_definition
from sr.sweep.objective import find_direction, list_measured_costs, list_objectives
from sr.sweep.page import SweepState
from sr.sweep.page_writer import PageWriter
from sr.sweep.pool.gpu import uses_one_gpu
from sr.sweep.pool.pool import Pool
from sr.sweep.progress import SweepProgress
from sr.sweep.result import SweepResult
from sr.sweep.scheduler import Scheduler
from sr.sweep.settings import check_objectives, check_parts, check_settings, list_random_options
from sr.sweep.space import count_points, list_examples, list_points, read_space, split_overrides, to_words
from sr.sweep.study import Study
from sr.sweep.summary_run import log_summary_run
from sr.sweep.trial_config import TrialComposer

SWEEPS_FOLDER = "sweeps"
MAX_CHECKED = 200  # points of a grid that are all checked; of a larger one, every value once
COMMIT_DIGITS = 10


def run_sweep(words: Sequence[str]) -> None:
    """Run the sweep of a command line."""
    typed: dict[str, list[str]] = {}

    def expand(quoted: list[str]) -> list[str]:
        """Return the command line of the first trial, with the options of the sweep."""
        flags, overrides = split_words([word for word in quoted if word not in MULTIRUN_FLAGS])
        typed.update(flags=flags, overrides=overrides)
        fixed, space = split_overrides(overrides, is_grid=False)  # whether it is a grid, only the config says
        return [*flags, *fixed, *to_words(next(list_examples(space)))]

    cli.run_command("run", lambda cfg: Sweep(cfg, **typed).run(), list(words), expand)


class Sweep:
    """One sweep: its trials' options are checked, its folder is opened, and its missing trials are run.

    `cfg` is the composed config with the first values of the search space, `flags` and `overrides` are the command line.
    """

    def __init__(self, cfg: DictConfig, flags: list[str], overrides: list[str]) -> None:
        self.settings = OmegaConf.to_container(cfg.sweep, resolve=True)
        self.is_grid = self.settings["sampler"] is None
        self.fixed, typed_space = split_overrides(overrides, self.is_grid)
        typed_keys = {word.partition("=")[0] for word in overrides}
        experiment_space = read_space(self.settings["space"] or {}, self.is_grid)
        self.space = typed_space | {key: v for key, v in experiment_space.items() if key not in typed_keys}
        check_settings(self.settings, self.space, overrides)
        self.configs = self._check_trials()
        check_parts(self.settings)
        self.config: dict[str, Any] = next(iter(self.configs.values()))
        self.objectives = list_objectives(self.config)
        check_objectives(self.settings, self.objectives, self.config)
        words = [word for word in self.fixed if not word.startswith(("sweep=", "sweep.", "sweep/"))]
        costs = {*list_measured_costs(self.objectives), *self.config["cost"]}
        self.trial_words = [*flags, *words, *([f"cost=[{','.join(sorted(costs))}]"] if costs else [])]

    def run(self) -> None:
        """Run all missing trials, print the result, and exit with 3 if some have failed."""
        definition = self._define()
        name = self.settings["name"] or definition.derive_name()
        folder = Path(self.config["paths"]["runs"]).resolve() / SWEEPS_FOLDER / name
        is_on_gpu = uses_one_gpu(self.config["trainer"])
        pool = build_part(self.settings["pool"], "sweep.pool", jobs=self.settings["jobs"], is_on_gpu=is_on_gpu)
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_run(folder)  # as that of a run; some file systems of clusters have no locks
        if lock is None:
            raise UserError(f"sweep.name={folder.name}: this sweep is running already, in another process")
        try:
            definition.store(folder)
            self._run_trials(folder, pool, definition)
        finally:
            lock.release()

    def _define(self) -> Definition:
        examples = [tuple(to_words(params)) for params in list_examples(self.space)]
        configs = {words: self.configs[words] for words in examples}
        directions = {name: find_direction(name, self.config) for name in self.objectives}
        return make_definition(self.fixed, self.space, self.settings, directions, configs)

    def _run_trials(self, folder: Path, pool: Pool, definition: Definition) -> None:
        directions = [find_direction(name, self.config) for name in self.objectives]
        study = Study(folder, self.space, self.settings, directions, self.config["seed"], _read_commit())
        result = SweepResult(study, folder, self.objectives, list(self.space), self.trial_words)
        read_state = partial(SweepState.read, study, folder, definition, result.format_command)
        writer, progress = PageWriter(study, read_state), SweepProgress(study, self.objectives)
        report = lambda: (result.write(), writer.update())  # noqa: E731
        jobs = self.settings["jobs"]
        scheduler = Scheduler(study, folder, self.trial_words, self.objectives, jobs, report, pool, progress=progress)
        self._print_start(study, folder)
        try:
            scheduler.run()
        except KeyboardInterrupt:
            progress.close()
            writer.stop()
            result.write()
            print(f"\nthe same command continues this sweep ({folder})")
            raise
        progress.close()
        result.write()
        state = writer.finish()
        typed = ["-m", *self.fixed, *(f"{key}={values}" for key, values in definition.space.items())]
        log_summary_run(state, self.config, typed)
        result.print(can_grow=not self.is_grid, has_tests="test" in self.config["stages"])

    def _print_start(self, study: Study, folder: Path) -> None:
        """Say on stderr how much of the sweep there is already, and what its user should know before it goes on."""
        begun, total = len(study.trials), study.total
        done = sum(trial.state.is_finished() for trial in study.trials)
        before = f", {done} of them done already" if begun else ""
        print(f"sweep {folder.name}: {format_count(max(total, begun), 'trial')}{before}", file=sys.stderr)
        if begun > total:
            print_note(f"sweep.trials={total}: {begun} trials have begun already; all of them are in the result")
        if len(study.commits) > 1 and done < total:
            print_note(
                f"this sweep began at commit {study.commits[0]} of sr, and goes on at {study.commits[-1]}; trials of "
                "different code may not be comparable: trials.csv has the commit of each"
            )
        random_options = list_random_options(self.settings, self.space)
        if random_options:
            print_note(
                f"{', '.join(random_options)}: chosen at random, for this sampler works on intervals and ranges only"
            )

    def _check_trials(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Compose and check the options of the trials before the first one begins; return the configs by their words."""
        is_small = self.is_grid and count_points(self.space) <= MAX_CHECKED
        points = list_points(self.space) if is_small else list_examples(self.space)
        composer = TrialComposer(self.fixed, self.space)
        return {tuple(to_words(params)): composer.compose(params) for params in points}


def _read_commit() -> str | None:
    """Return the commit of sr, with a mark if the working tree differs from it; None if sr is an installed package."""
    state = git.read_state(git.find_checkout())
    if not state:
        return None
    return state["sha"][:COMMIT_DIGITS] + ("-dirty" if state["dirty"] == "true" else "")
