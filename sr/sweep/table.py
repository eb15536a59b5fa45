"""The table of a sweep's trials: the best first, the failed ones last with their reasons."""

import csv
import io
from collections.abc import Callable, Collection, Sequence

from optuna.trial import FrozenTrial, TrialState

from sr.runtime.terminal import format_table
from sr.sweep.study import COMMITS, FOLDER, REASON, SECONDS

STATES = {
    TrialState.COMPLETE: "",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
FRONT = "front"  # of a trial on the Pareto front
MAX_ROWS = 30  # on the terminal


def format_trials(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], keys: Sequence[str], front: Collection[int] = ()
) -> str:
    """Format sorted trials as a table for the terminal, and below it the reasons of those that failed.

    `front` are the numbers of the trials on the Pareto front.
    """
    header = ("trial", *keys, *objectives, "seconds", "")
    rows = [_make_row(trial, objectives, keys, front) for trial in trials]
    text = format_table([header, *rows[:MAX_ROWS]])
    if len(rows) > MAX_ROWS:
        text += f"\n… and {len(rows) - MAX_ROWS} more, in trials.csv"
    reasons = [f"trial {t.number}: {t.user_attrs[REASON]}" for t in trials if REASON in t.user_attrs]
    return "\n".join([text, *([""] if reasons else []), *reasons])


def trials_to_csv(
    trials: Sequence[FrozenTrial],
    objectives: Sequence[str],
    keys: Sequence[str],
    front: Collection[int] = (),
    format_command: Callable[[FrozenTrial], str] = lambda trial: "",
    total: int | None = None,
) -> str:
    """Return all trials as a CSV file, with the folder, commits and command of each run, and why it failed if it did.

    Numbers are written with all their digits. `total` is the number of trials of the sweep, with those that have not begun
    (None: there are no others): each row has it, so that a reader notices that some are missing.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(
        ["trial", *keys, *objectives, "seconds", "state", "folder", "reason", FRONT, "commit", "command", "total"]
    )
    for trial in trials:
        attributes = trial.user_attrs
        values = trial.values or [""] * len(objectives)
        writer.writerow([
            trial.number, *(trial.params.get(key, "") for key in keys), *values, attributes.get(SECONDS, ""),
            trial.state.name.lower(), attributes.get(FOLDER, ""), attributes.get(REASON, ""),
            FRONT if trial.number in front else "", " ".join(attributes.get(COMMITS, [])), format_command(trial),
            len(trials) if total is None else max(total, len(trials)),
        ])  # fmt: skip
    return file.getvalue()


def _make_row(
    trial: FrozenTrial, objectives: Sequence[str], keys: Sequence[str], front: Collection[int]
) -> tuple[str, ...]:
    values = [_format_value(value) for value in trial.values] if trial.values else ["–"] * len(objectives)
    params = [_format_param(trial.params.get(key)) for key in keys]
    seconds = trial.user_attrs.get(SECONDS)
    state = FRONT if trial.number in front else STATES[trial.state]
    return (str(trial.number), *params, *values, "–" if seconds is None else f"{seconds:.0f}", state)


def _format_value(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4f}"


def _format_param(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
