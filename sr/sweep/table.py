"""The table of a sweep's trials: the best first, the failed ones last with their reasons."""

import csv
import io
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from sr.runtime.terminal import format_table
from sr.sweep.study import FOLDER, REASON, SECONDS

STATES = {
    TrialState.COMPLETE: "",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
MAX_ROWS = 30  # on the terminal


def format_trials(trials: Sequence[FrozenTrial], objectives: Sequence[str], keys: Sequence[str]) -> str:
    """Format sorted trials as a table for the terminal, and below it the reasons of those that failed."""
    header = ("trial", *keys, *objectives, "seconds", "")
    rows = [_make_row(trial, objectives, keys) for trial in trials]
    text = format_table([header, *rows[:MAX_ROWS]])
    if len(rows) > MAX_ROWS:
        text += f"\n… and {len(rows) - MAX_ROWS} more, in trials.csv"
    reasons = [f"trial {t.number + 1}: {t.user_attrs[REASON]}" for t in trials if REASON in t.user_attrs]
    return "\n".join([text, *([""] if reasons else []), *reasons])


def trials_to_csv(trials: Sequence[FrozenTrial], objectives: Sequence[str], keys: Sequence[str]) -> str:
    """Return all trials as a CSV file, with the folder of each run and the reason of each failure."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["trial", *keys, *objectives, "seconds", "state", "folder", "reason"])
    for trial in trials:
        attributes = trial.user_attrs
        writer.writerow([*_make_row(trial, objectives, keys)[:-1], trial.state.name.lower(), attributes.get(FOLDER, ""),
                         attributes.get(REASON, "")])  # fmt: skip
    return file.getvalue()


def _make_row(trial: FrozenTrial, objectives: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    values = [f"{value:.4f}" for value in trial.values] if trial.values else ["–"] * len(objectives)
    params = [_format_param(trial.params.get(key)) for key in keys]
    seconds = trial.user_attrs.get(SECONDS)
    return (str(trial.number + 1), *params, *values, "–" if seconds is None else f"{seconds:.0f}", STATES[trial.state])


def _format_param(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
