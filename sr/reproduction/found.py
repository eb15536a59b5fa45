"""The folder of the run that was named: one that is here, or one made of what MLflow has of it."""

import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sr.record.identity import find_run
from sr.record.journal_format import JOURNAL_FILE, Entry, append_entries
from sr.reproduction.past import NAMES, NEEDED
from sr.runtime.error import UserError
from sr.track.artifact import download_artifact
from sr.track.server import VARIABLES

ID = re.compile(r"(mlflow:)?([0-9a-f]{32})")


class Found(NamedTuple):
    """A run's folder."""

    folder: Path
    tracked: str | None = (
        None  # MLflow's id, where that is all that there is of it: no weights, no values but finite ones
    )


@contextlib.contextmanager
def found(word: str, uri: str | None, runs: Path) -> Iterator[Found]:
    """By its folder, that folder's name, our id or MLflow's in `paths.runs`; else by MLflow's id at `uri`: then what MLflow
    has is in a folder of its own as long as the block lasts."""
    try:
        here = find_run(runs, word.removeprefix("mlflow:"), "run").resolve()
    except UserError:
        if not ID.fullmatch(word):
            raise
        here = None
    if here is not None:
        yield Found(here)
        return
    with tempfile.TemporaryDirectory(prefix="sr-run-") as own:
        run_id = ID.fullmatch(word)[2]
        _fetch(run_id, uri or f"sqlite:///{runs / 'mlflow.db'}", Path(own))
        yield Found(Path(own), run_id)


def _fetch(run_id: str, uri: str, folder: Path) -> None:
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():  # MLflow would make it
        raise UserError(f"run={run_id}: no run of this id in paths.runs, and no database at uri={uri}")
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    try:
        client = MlflowClient(uri)
        run = client.get_run(run_id)
        for name in NAMES:
            with contextlib.suppress(*(() if name in NEEDED else (UserError,))):  # what a run need not have
                download_artifact(client, run_id, name, folder)
        points = [point for name in run.data.metrics for point in client.get_metric_history(run_id, name)]
    except UserError:
        raise
    except Exception as error:  # whatever MLflow raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"run={run_id}: no run of this id in paths.runs, nor at uri={uri} ({reason})") from None
    finite = [point for point in points if math.isfinite(point.value)]
    (folder / JOURNAL_FILE).touch()
    append_entries(
        folder / JOURNAL_FILE, [_entry(point) for point in sorted(finite, key=lambda p: (p.step, p.timestamp))]
    )


def _entry(point: Any) -> Entry:
    """As a journal has it."""
    return {"points": {point.key: point.value}, "step": point.step, "time": point.timestamp}
