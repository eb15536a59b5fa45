"""The page of a sweep, `sweep.html` in its folder: the best trials, plots, the table of trials, and how it was defined."""

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial, TrialState

from sr.page.document import Page, PageCell, Section
from sr.record.identity import read_identity
from sr.runtime.redact import mask_passwords
from sr.runtime.terminal import format_count, format_table
from sr.sweep.definition import Definition
from sr.sweep.importance import compute_importances, describe_reliability, find_obstacle
from sr.sweep.plots import draw_charts
from sr.sweep.study import COMMITS, FOLDER, REASON, SECONDS, Study
from sr.track.address import format_run_address

MAX_COMMANDS = 5  # of trials of a Pareto front
COUNTS = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL,
          "unfinished": TrialState.RUNNING}  # fmt: skip
STATES = {state: name for name, state in COUNTS.items()}


@dataclass(frozen=True)
class SweepState:
    """The trials of a sweep at one moment, independent of those that go on, and what the sweep is."""

    folder: Path
    definition: Definition
    trials: list[FrozenTrial]  # the best first
    best: list[FrozenTrial]  # one, or those on the Pareto front
    copy: optuna.Study  # of the trials, for plots
    total: int
    format_command: Callable[[FrozenTrial], str]

    @classmethod
    def read(
        cls, study: Study, folder: Path, definition: Definition, format_command: Callable[[FrozenTrial], str]
    ) -> Self:
        """Return the present state of a study."""
        trials = deepcopy(study.sort_trials())
        copy = optuna.create_study(directions=study.directions)
        copy.add_trials(sorted(trials, key=lambda trial: trial.number))
        best = {trial.number for trial in copy.best_trials}
        return cls(
            folder, definition, trials, [t for t in trials if t.number in best], copy, study.total, format_command
        )

    @property
    def objectives(self) -> list[str]:
        """The names of the objectives."""
        return list(self.definition.objective)

    @property
    def options(self) -> list[str]:
        """The options that vary."""
        return list(self.definition.space)

    @cached_property
    def importances(self) -> list[tuple[str, dict[str, float], str]]:
        """Objective, shares of the options, and a remark; without shares it says why there are none."""
        rows = []
        for index, objective in enumerate(self.objectives):
            if obstacle := find_obstacle(self.copy, index):
                rows.append((objective, {}, f"No importances for {objective}: {obstacle}."))
            else:
                shares = compute_importances(self.copy, index)
                rows.append((objective, shares, describe_reliability(self.copy, index)))
        return rows

    def count_trials(self) -> dict[str, int]:
        """Return the number of trials by how they ended."""
        return {name: sum(trial.state == state for trial in self.trials) for name, state in COUNTS.items()}


def build_page(state: SweepState) -> Page:
    """Return the page of a sweep."""
    page = Page(f"Sweep {state.folder.name}", _describe_progress(state))
    _add_best(page.add_section("Best trial" if len(state.objectives) == 1 else "Pareto front"), state)
    _add_charts(page.add_section("Charts"), state)
    _add_importances(page.add_section("Importances"), state)
    _add_trials(page.add_section("Trials"), state)
    _add_definition(page.add_section("Definition"), state)
    page.footer = {
        "folder": str(state.folder),
        "written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}",
    }
    return page


def format_importances(state: SweepState) -> str:
    """Return the importances of all objectives as a text, or why there are none."""
    texts = []
    for objective, shares, remark in state.importances:
        rows = [("option", objective), *((option, f"{share:.2f}") for option, share in shares.items())]
        texts += [format_table(rows)] * bool(shares) + [remark]
    return "\n\n".join(texts) + "\n"


def _describe_progress(state: SweepState) -> str:
    counts = [f"{number} {name}" for name, number in state.count_trials().items() if number]
    directions = zip(state.objectives, state.copy.directions, strict=True)
    aims = [f"{name}: {'more' if direction.name == 'MAXIMIZE' else 'less'} is better" for name, direction in directions]
    return f"{len(state.trials)} of {format_count(state.total, 'trial')}: {', '.join(counts) or 'none'}. {'; '.join(aims)}."


def _add_best(section: Section, state: SweepState) -> None:
    if not state.best:
        section.add_text("No trial has finished.")
        return
    if len(state.objectives) > 1:
        section.add_text("No other trial is better in all objectives than one of these.")
        rows = [[trial.number, *_list_values(trial), *_list_options(trial, state)] for trial in state.best]
        section.add_table("Pareto front", ["trial", *state.objectives, *state.options], rows)
    else:
        trial = state.best[0]
        facts = {"trial": trial.number, state.objectives[0]: f"{trial.values[0]:.4f}"}
        section.add_facts(facts | {option: _format_option(trial.params.get(option)) for option in state.options})
    for trial in state.best[:MAX_COMMANDS]:
        if len(state.best) > 1:
            section.add_text(f"Trial {trial.number}:")
        section.add_command(state.format_command(trial))


def _add_charts(section: Section, state: SweepState) -> None:
    notes = []
    for chart in draw_charts(state.copy, state.objectives):
        if chart.figure is None:
            notes.append(f"{chart.title} is not drawn: {chart.note}.")
        else:
            section.add_chart(chart.figure, chart.title, is_half=chart.is_part)
    for note in notes:
        section.add_text(note)


def _add_importances(section: Section, state: SweepState) -> None:
    for objective, shares, remark in state.importances:
        rows = [[option, PageCell(f"{share:.2f}", share)] for option, share in shares.items()]
        if rows:
            section.add_table(f"Importances for {objective}", ["option", objective], rows)
        section.add_text(remark)


def _add_trials(section: Section, state: SweepState) -> None:
    identities = {t.number: read_identity(Path(t.user_attrs[FOLDER])) for t in state.trials if FOLDER in t.user_attrs}
    addresses = {number: format_run_address(identity) for number, identity in identities.items()}
    has_pages = any(addresses.values())
    header = ["trial", "state", *state.objectives, *state.options, "seconds", "run", *["MLflow"] * has_pages, "reason"]
    rows = []
    for trial in state.trials:
        address = addresses.get(trial.number)
        pages = [PageCell("page", href=address) if address else None] * has_pages
        row = [trial.number, STATES[trial.state], *_list_values(trial, len(state.objectives))]
        row += [*_list_options(trial, state), _format_seconds(trial), _link_folder(trial, state.folder), *pages]
        rows.append([*row, trial.user_attrs.get(REASON, "")])
    if not any(row[-1] for row in rows):
        rows, header = [row[:-1] for row in rows], header[:-1]
    section.add_table("Trials, the best first", header, rows)


def _add_definition(section: Section, state: SweepState) -> None:
    definition = state.definition
    commits = dict.fromkeys(commit for trial in state.trials for commit in trial.user_attrs.get(COMMITS, ()))
    section.add_table("Search space", ["option", "values"], list(definition.space.items()))
    section.add_facts(
        {
            "the same in all trials": mask_passwords(" ".join(definition.base)) or "the defaults",
            "sampler": describe_part(definition.sampler) if definition.sampler else "grid: every combination",
            "pruner": describe_part(definition.pruner),
            "objective": ", ".join(state.objectives),
            "commits of sr": ", ".join(commits) or "unknown",
        }
    )


def _list_values(trial: FrozenTrial, count: int = 0) -> list[Any]:
    return [PageCell(f"{value:.4f}", value) for value in trial.values] if trial.values else [None] * count


def _list_options(trial: FrozenTrial, state: SweepState) -> list[Any]:
    return [trial.params.get(option) for option in state.options]


def _format_option(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _link_folder(trial: FrozenTrial, sweep: Path) -> PageCell | None:
    """Return a link to a run's folder, relative to the page: the folder of all runs may be moved as a whole."""
    folder = trial.user_attrs.get(FOLDER)
    if folder is None:
        return None
    return PageCell(Path(folder).name, Path(folder).name, quote(Path(os.path.relpath(folder, sweep)).as_posix()))


def _format_seconds(trial: FrozenTrial) -> PageCell | None:
    seconds = trial.user_attrs.get(SECONDS)
    return None if seconds is None else PageCell(f"{seconds:.1f}", seconds)


def describe_part(node: dict[str, Any]) -> str:
    """Return `TPESampler(n_startup_trials=10)` of a node of the config."""
    options = [f"{key}={value}" for key, value in node.items() if key != "_target_"]
    return f"{node['_target_'].rpartition('.')[2]}({', '.join(options)})"
