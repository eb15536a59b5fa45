"""Download what MLflow has of a run, in the form of a run's folder."""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sr.record.journal_format import JOURNAL_FILE, Entry, append_entries
from sr.runtime.error import UserError
from sr.track.address import default_uri, describe_location
from sr.track.artifact import download_artifact
from sr.track.mlflow_format import convert_metric_name
from sr.track.server import open_existing
from sr.track.server_error import describe_error


def fetch_run(
    run_id: str, uri: str | None, runs: Path, folder: Path, required: Sequence[str], optional: re.Pattern[str]
) -> None:
    """Download these files of an MLflow run to `folder`, and its metrics to a journal there.

    Optional files are those whose whole name matches. `uri` is the tracking server; None: the database in `runs`
    (`paths.runs`). MLflow has no values that are not finite.
    """
    uri = uri or default_uri(runs)
    not_found = f"run={run_id}: no run of this id in paths.runs, nor at uri={describe_location(uri)}"
    try:
        client = open_existing(uri)
        run = client.get_run(run_id)
    except Exception as error:  # whatever MLflow raises
        raise UserError(f"{not_found} ({describe_error(error)})") from None
    try:
        for name in required:
            download_artifact(client, run_id, name, folder)
        names = [str(file.path) for file in client.list_artifacts(run_id)]
        for name in filter(optional.fullmatch, names):
            with contextlib.suppress(UserError):
                download_artifact(client, run_id, name, folder)
        points = [point for name in run.data.metrics for point in client.get_metric_history(run_id, name)]
    except UserError:
        raise
    except Exception as error:  # whatever MLflow raises
        raise UserError(f"{not_found} ({describe_error(error)})") from None
    finite = sorted((p for p in points if math.isfinite(p.value)), key=lambda p: (p.step, p.timestamp))
    (folder / JOURNAL_FILE).touch()
    append_entries(folder / JOURNAL_FILE, [_to_entry(point) for point in finite])


def convert_points(points: Iterable[tuple[str, int, float]]) -> Iterator[tuple[str, int, float]]:
    """Yield points (name, step, value) of a local run as `fetch_run` gives them: finite, under MLflow's names."""
    return ((convert_metric_name(name), step, value) for name, step, value in points if math.isfinite(value))


def _to_entry(point: Any) -> Entry:
    """Return a point of MLflow in the form of a journal entry."""
    return {"points": {convert_metric_name(point.key): point.value}, "step": point.step, "time": point.timestamp}
