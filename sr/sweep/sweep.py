"""`python -m sr.run -m …`: begin a sweep, or continue the one that the same command began, until it has all its trials."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from filelock import FileLock, Timeout
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import FrozenTrial

from sr.config import cli, schema
from sr.config.build import build_part
from sr.config.command_line import find_python
from sr.config.hydra_error import explain_hydra_error
from sr.config.quoting import MULTIRUN_FLAGS, split_words
from sr.record.identity import write_atomic
from sr.runtime.error import UserError
from sr.sweep.definition import Definition, make_definition
from sr.sweep.objective import find_direction, list_objectives
from sr.sweep.page import SweepState
from sr.sweep.page_writer import PAGE_FILE, PageWriter
from sr.sweep.pool.gpu import uses_one_gpu
from sr.sweep.pool.pool import Pool
from sr.sweep.scheduler import Scheduler, list_failures
from sr.sweep.space import Params, Space, count_points, list_examples, list_points, split_overrides, to_words
from sr.sweep.study import Study
from sr.sweep.summary_run import log_summary_run
from sr.sweep.table import format_trials, trials_to_csv

SWEEPS_FOLDER, LOCK_FILE, TABLE_FILE, CSV_FILE = "sweeps", ".lock", "table.txt", "trials.csv"
MAX_GRID = 10_000  # points
MAX_CHECKED = 200  # points of a grid that are all checked; of a larger one, every value once
EXIT_FAILURES = 3  # some trials failed


def run_sweep(words: Sequence[str]) -> None:
    """Run the sweep of a command line."""
    plan: dict[str, Any] = {}

    def expand(quoted: list[str]) -> list[str]:
        """Return the command line of the first trial, with the options of the sweep."""
        flags, overrides = split_words([word for word in quoted if word not in MULTIRUN_FLAGS])
        is_grid = not any(word.startswith("sweep=") and word != "sweep=grid" for word in overrides)
        fixed, space = split_overrides(overrides, is_grid)
        plan.update(flags=flags, fixed=fixed, space=space)
        return [*flags, *fixed, *to_words(next(list_examples(space)))]

    cli.run_command("run", lambda cfg: Sweep(cfg, **plan).run(), list(words), expand)


class Sweep:
    """One sweep: its trials' options are checked, its folder is opened, and its missing trials are run.

    `cfg` is the composed config with the first values of the search space.
    """

    def __init__(self, cfg: DictConfig, flags: list[str], fixed: list[str], space: Space) -> None:
        self.flags, self.fixed = flags, fixed
        self.trial_words = [word for word in fixed if not word.startswith(("sweep=", "sweep.", "sweep/"))]
        settings = OmegaConf.to_container(cfg.sweep, resolve=True)
        is_grid = settings["sampler"] is None
        typed = [f"{key}={value}" for key, value in (settings["space"] or {}).items() if key not in space]
        self.space = space | split_overrides(typed, is_grid)[1]
        _check_settings(settings, self.space)
        self.settings = settings
        self.config = self._check_trials(is_grid)
        self.objectives = list_objectives(self.config)
        if len(self.objectives) > 1 and not settings["pruner"]["_target_"].endswith(".NopPruner"):
            raise UserError(
                "sweep/pruner: trials are pruned by one objective only; leave it out, or give one sweep.objective"
            )

    def run(self) -> None:
        """Run all missing trials, print the table, and exit with 3 if some have failed."""
        definition = make_definition(self.fixed, self.space, self.settings, self.objectives)
        folder = (
            Path(self.config["paths"]["runs"]).resolve()
            / SWEEPS_FOLDER
            / (self.settings["name"] or definition.derive_name())
        )
        is_on_gpu = uses_one_gpu(self.config["trainer"])
        pool = build_part(self.settings["pool"], "sweep.pool", jobs=self.settings["jobs"], is_on_gpu=is_on_gpu)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"sweep.name={folder.name}: this sweep is running already, in another process") from None
        with lock:
            definition.store(folder)
            self._run_trials(folder, pool, definition)

    def _run_trials(self, folder: Path, pool: Pool, definition: Definition) -> None:
        directions = [find_direction(name, self.config) for name in self.objectives]
        study = Study(folder, self.space, self.settings, directions, self.config["seed"])
        read_state = partial(SweepState.read, study, folder, definition, self._format_command)
        writer = PageWriter(read_state, folder)
        report = lambda: (self._write_tables(study, folder), writer.update())  # noqa: E731
        words = [*self.flags, *self.trial_words]
        scheduler = Scheduler(study, folder, words, self.objectives, self.settings["jobs"], report, pool)
        print(f"sweep {folder.name}: {len(study.trials)} of {study.total} trials have begun", file=sys.stderr)
        try:
            scheduler.run()
        except KeyboardInterrupt:
            writer.stop()
            print(f"\nthe same command continues this sweep ({folder})")
            raise
        table = self._write_tables(study, folder)
        writer.finish()
        typed = ["-m", *self.fixed, *(f"{key}={values}" for key, values in definition.space.items())]
        log_summary_run(read_state(), self.config, typed)
        print("\n" + table)
        self._print_end(study, folder)

    def _write_tables(self, study: Study, folder: Path) -> str:
        trials, keys = study.sort_trials(), list(self.space)
        table = format_trials(trials, self.objectives, keys)
        write_atomic(folder / TABLE_FILE, table + "\n")
        write_atomic(folder / CSV_FILE, trials_to_csv(trials, self.objectives, keys))
        return table

    def _print_end(self, study: Study, folder: Path) -> None:
        failures = list_failures(study)
        best = study.sort_trials()[0] if len(failures) < len(study.trials) else None
        print(f"\nsweep       {folder}")
        print(f"page        {folder / PAGE_FILE}")
        if best:
            print(f"best trial  {self._format_command(best)}")
        if self.settings["sampler"] is not None:
            print(f"more trials sweep.trials={2 * study.total}")
        if failures:
            print(
                f"{len(failures)} of {study.total} trials failed; their output is in {folder}/trials", file=sys.stderr
            )
            raise SystemExit(EXIT_FAILURES)

    def _format_command(self, trial: FrozenTrial) -> str:
        words = [*self.flags, *self.trial_words, *to_words(dict(trial.params))]
        return shlex.join([find_python(), "-m", "sr.run", *words])

    def _check_trials(self, is_grid: bool) -> dict[str, Any]:
        """Compose and check the options of the trials before the first one begins; return the config of the first."""
        count = count_points(self.space) if is_grid else 0
        points = list_points(self.space) if is_grid and count <= MAX_CHECKED else list_examples(self.space)
        first = None
        for params in points:
            config = self._check_trial(params)
            first = first or config
        return first

    def _check_trial(self, params: Params) -> dict[str, Any]:
        overrides = [*self.fixed, *to_words(params)]
        try:
            cfg = hydra.compose("run", overrides=overrides, return_hydra_config=True)
            choices = dict(cfg.hydra.runtime.choices)
            with read_write(cfg), open_dict(cfg):
                del cfg["hydra"]
            return schema.resolve_config(cfg, choices)
        except (UserError, HydraException, OmegaConfBaseException) as error:
            is_hydras = not isinstance(error, UserError)
            message = explain_hydra_error(error, "run", overrides) if is_hydras else error
            raise UserError(f"{message}\n(in the trial {' '.join(to_words(params))}; nothing was run)") from None


def _check_settings(settings: dict[str, Any], space: Space) -> None:
    """Raise if an option `sweep.*` has no sensible value."""
    if not space:
        raise UserError("-m: expected an option that varies, such as seed=0,1,2 (found none)")
    for key in ("trials", "jobs"):
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"sweep.{key}={value}: expected a whole number, 1 or more")
    if settings["sampler"] is None and count_points(space) > MAX_GRID:
        raise UserError(
            f"-m: expected at most {MAX_GRID} combinations (found {count_points(space)}); type sweep=tpe sweep.trials=…"
        )
    name = settings["name"]
    if name is not None and (not isinstance(name, str) or Path(name).name != name or name.startswith(".")):
        raise UserError(f"sweep.name={name}: expected a name for a folder, without / and not beginning with a dot")
