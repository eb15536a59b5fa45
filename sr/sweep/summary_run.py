"""The summary run of a sweep: one run in the tracker with its best values, counts, page and tables.

It is a run of its own, with the tags `sr.verb=sweep` and `sr.sweep=NAME`; a trial has the number `sr.trial` instead. A
sweep that is extended continues the same run.
"""

import getpass
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from sr.config.build import build_part
from sr.record.git import find_checkout, read_state
from sr.record.json_text import to_json
from sr.record.run_file import write_atomic
from sr.record.run_folder import create_run_folder
from sr.record.trial import SUMMARY_COMMAND
from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords
from sr.runtime.terminal import print_note
from sr.sweep.definition import DEFINITION_FILE
from sr.sweep.page import SweepState, describe_part
from sr.sweep.page_writer import IMPORTANCES_FILE, PAGE_FILE, PLOTS_FOLDER
from sr.sweep.study import SECONDS

SUMMARY_RUN_FILE = "summary_run.json"  # in the sweep's folder: which run it is, and how many trials it has
TABLES = ("table.txt", "trials.csv")


def log_summary_run(state: SweepState, config: dict[str, Any], words: list[str]) -> Path | None:
    """Report a sweep to the tracker of its trials; return the folder of the summary run, or None if nothing is tracked.

    `config` is that of a trial, `words` are those of the sweep's command. Nothing is done if the run has all trials. An
    error is a note: the sweep itself is complete.
    """
    try:
        return _log_summary_run(state, config, words)
    except Exception as error:  # whatever a tracker raises
        reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        print_note(f"the summary run of the sweep is not complete ({reason}); the same command tries it again")
        return None


def _log_summary_run(state: SweepState, config: dict[str, Any], words: list[str]) -> Path | None:
    record = state.folder / SUMMARY_RUN_FILE
    ended = sum(trial.state.is_finished() for trial in state.trials)
    before = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"folder": "", "trials": 0}
    folder = Path(before["folder"])
    is_new = not before["folder"] or not folder.is_dir()
    if not is_new and before["trials"] == ended:
        return folder
    from sr.lifecycle.run_end import close_on_exit  # imports torch

    tracker = build_part(config["track"], "track")
    if not tracker.is_tracking or not ended:
        return None
    if is_new:
        files = {DEFINITION_FILE: (state.folder / DEFINITION_FILE).read_bytes()}
        folder = create_run_folder(config["paths"]["runs"], f"sweep {state.folder.name}", files)
        write_atomic(record, to_json({"folder": str(folder), "trials": 0}))  # first: a kill makes no second run
    with close_on_exit(tracker.close):
        tracker.start(f"sweep {state.folder.name}", folder, _list_params(state), words, _list_tags(state))
        _report(tracker, state, folder)
    write_atomic(record, to_json({"folder": str(folder), "trials": ended}))
    return folder


def _report(tracker: Any, state: SweepState, folder: Path) -> None:
    """Report values, files and a description."""
    tracker.log_points(summarize_sweep(state), step=len(state.trials))
    names = [PAGE_FILE, IMPORTANCES_FILE, *TABLES, DEFINITION_FILE]
    paths = [*(state.folder / name for name in names), *sorted((state.folder / PLOTS_FOLDER).glob("*.png"))]
    for path in paths:
        if path.is_file():
            target = folder / path.relative_to(state.folder)
            target.parent.mkdir(exist_ok=True)
            content = path.read_bytes()
            if path.name == PAGE_FILE:  # it links to the folders of runs, which are one level nearer here
                content = content.replace(b'href="../../', b'href="../')
            write_atomic(target, content)
            tracker.log_file(target, PLOTS_FOLDER if target.parent != folder else "")
    table = (state.folder / TABLES[0]).read_text(encoding="utf-8")
    command = [f"    {state.format_command(trial)}\n" for trial in state.best[:1]]
    text = "\n".join([*command, *(f"    {line}" for line in table.splitlines())])
    tracker.set_description(mask_passwords(text))


def summarize_sweep(state: SweepState) -> dict[str, float]:
    """Return the best value of each objective, the number of trials by how they ended, and their seconds together."""
    complete = [trial for trial in state.trials if trial.state == TrialState.COMPLETE]
    values: dict[str, float] = {f"sweep/{name}": number for name, number in state.count_trials().items()}
    values["sweep/seconds"] = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in state.trials)
    for index, (name, direction) in enumerate(zip(state.objectives, state.copy.directions, strict=True)):
        choose = max if direction.name == "MAXIMIZE" else min
        if complete:
            values[f"sweep/best_{name}"] = choose(trial.values[index] for trial in complete)
    return values


def _list_params(state: SweepState) -> dict[str, str]:
    """Return what is the same in all trials by option, the search space, and how values are chosen."""
    definition = state.definition
    base = (word.lstrip("+~").partition("=") for word in definition.base)
    return {
        **{key.replace("/", "."): mask_passwords(value) for key, _, value in base if value},
        **{key.replace("/", "."): values for key, values in definition.space.items()},
        "sweep.sampler": describe_part(definition.sampler) if definition.sampler else "grid",
        "sweep.pruner": describe_part(definition.pruner),
        "sweep.objective": ",".join(state.objectives),
    }


def _list_tags(state: SweepState) -> dict[str, str]:
    tags = {"sr.verb": SUMMARY_COMMAND, "sr.sweep": state.folder.name}
    git = read_state(find_checkout())
    if git:
        tags |= {"sr.git.commit": git["sha"], "sr.git.branch": git["branch"], "sr.git.dirty": git["dirty"]}
    with suppress(OSError, KeyError):  # a container may have no name for its user
        tags["sr.user"] = getpass.getuser()
    return tags
