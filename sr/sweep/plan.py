"""Plan a sweep: read its command, and check the options of all trials. No large library is imported for that."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr.config import cli
from sr.config.quoting import MULTIRUN_FLAGS, split_words
from sr.runtime.error import UserError
from sr.runtime.launch import count_tasks, is_launched_by_others
from sr.sweep.definition import Definition, make_definition
from sr.sweep.objective import find_directions, list_measured_costs
from sr.sweep.settings import check_objectives, check_settings
from sr.sweep.space import count_points, list_examples, list_points, read_space, split_overrides, to_words
from sr.sweep.trial_config import TrialComposer

MAX_CHECKED = 200  # points of a grid that are all checked; of a larger one, every value once


def run_sweep(words: Sequence[str]) -> None:
    """Run the sweep of a command line."""
    typed: dict[str, list[str]] = {}

    def expand(quoted: list[str]) -> list[str]:
        """Return the command line of the first trial, with the options of the sweep."""
        if is_launched_by_others():
            raise UserError(
                f"-m: expected one process (found {count_tasks()} of torchrun or srun); a sweep starts its trials and their "
                "processes itself: leave torchrun and srun out"
            )
        flags, overrides = split_words([word for word in quoted if word not in MULTIRUN_FLAGS])
        typed.update(flags=flags, overrides=overrides)
        fixed, space = split_overrides(overrides, is_grid=False)  # whether it is a grid, only the config says
        return [*flags, *fixed, *to_words(next(list_examples(space)))]

    cli.run_command("run", lambda cfg: _run(SweepPlan(cfg, **typed)), list(words), expand)


class SweepPlan:
    """A sweep before it runs: the options of all its trials have been checked.

    `cfg` is the composed config with the first values of the search space, `flags` and `overrides` are the command line.
    """

    def __init__(self, cfg: DictConfig, flags: list[str], overrides: list[str]) -> None:
        self.settings = OmegaConf.to_container(cfg.sweep, resolve=True)
        self.is_grid = self.settings["sampler"] is None
        self.fixed, typed_space = split_overrides(overrides, self.is_grid)
        typed_keys = {word.partition("=")[0] for word in overrides}
        rest = {key: values for key, values in (self.settings["space"] or {}).items() if key not in typed_keys}
        self.space = typed_space | read_space(rest, self.is_grid)
        check_settings(self.settings, self.space, overrides)
        self.configs = self._check_trials()
        self.config: dict[str, Any] = next(iter(self.configs.values()))
        self.directions = find_directions(self.config)
        self.objectives = list(self.directions)
        check_objectives(self.settings, self.objectives, self.config)
        words = [word for word in self.fixed if not word.startswith(("sweep=", "sweep.", "sweep/"))]
        costs = {*list_measured_costs(self.objectives), *self.config["cost"]}
        self.trial_words = [*flags, *words, *([f"cost=[{','.join(sorted(costs))}]"] if costs else [])]

    def define(self) -> Definition:
        """Return what must stay equal in the sweep."""
        examples = [tuple(to_words(params)) for params in list_examples(self.space)]
        configs = {words: self.configs[words] for words in examples}
        return make_definition(self.fixed, self.space, self.settings, self.directions, configs)

    def _check_trials(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Compose and check the options of the trials before the first one begins; return the configs by their words."""
        is_small = self.is_grid and count_points(self.space) <= MAX_CHECKED
        points = list_points(self.space) if is_small else list_examples(self.space)
        composer = TrialComposer(self.fixed, self.space)
        return {tuple(to_words(params)): composer.compose(params) for params in points}


def _run(plan: SweepPlan) -> None:
    from sr.sweep.sweep import Sweep  # imports torch, Lightning and Optuna: only now, when the options are right

    Sweep(plan).run()
