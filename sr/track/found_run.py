"""Search an MLflow for runs, page by page, and download the results of those that are not on this machine."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sr.record.past import FOLDER_TAG
from sr.runtime.error import UserError, suggest_nearest
from sr.track.address import describe_location
from sr.track.artifact import RunArtifacts, download_artifact
from sr.track.server import open_existing
from sr.track.server_error import describe_error

PAGE_SIZE = 500  # runs of one answer
DOWNLOADS = 8  # at the same time
MAX_VALUES_SHOWN = 6
DATA_TAG = "sr.data"  # the kind of data source, such as folder
_OWN_TAG = re.compile(r"(?<![\w`.])tags?\.(?!mlflow\.|sr\.)(\w+)(?![\w.`])")
_FILTERED_TAG = re.compile(r"tags?\.`?((?:sr|mlflow)\.[\w.]+)`?")


class FoundRun(NamedTuple):
    """A run that MLflow has."""

    run_id: str
    name: str
    folder: Path | None  # where it was written, on this machine or another one
    status: str  # FINISHED, FAILED, KILLED or RUNNING
    artifacts: str  # their address


class DownloadedRun(NamedTuple):
    """A run of MLflow whose files were downloaded."""

    folder: Path
    name: str
    status: str


def search_runs(uri: str, experiments: Sequence[str], condition: str | None) -> list[FoundRun]:
    """Return the runs of sr in these experiments, or in all, that meet a condition in MLflow's search language.

    `tags.data` there is our tag `sr.data`. Raises `UserError` if nothing is found, or if MLflow does not answer.
    """
    typed = f"filter={condition}" if condition else f"runs=experiment:{','.join(experiments)}"
    with _explain_failure(typed, uri):
        client = open_existing(uri)
        known = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
        for name in experiments:
            if name not in known:
                raise UserError(
                    f"runs=experiment:{name}: expected an experiment of MLflow at {describe_location(uri)} (found "
                    f"{', '.join(known)}).{suggest_nearest(name, known)}"
                )
        ids = [known[name] for name in experiments] or list(known.values())
        translated = translate_filter(condition or "")
        found = [run for run in _list_runs(client, ids, translated) if "sr.id" in run.data.tags]
        if not found:
            raise UserError(f"{typed}: no run of sr in MLflow meets it{_describe_values(client, ids, translated)}")
    return [_make_found_run(run) for run in found]


def translate_filter(condition: str) -> str:
    """Return a condition with our tags under their names in MLflow: ``tags.`sr.data` = 'T91'`` of `tags.data = 'T91'`.

    Texts in quotes stay as they are.
    """
    parts = re.split(r"('[^']*'|\"[^\"]*\")", condition)
    return "".join(part if k % 2 else _OWN_TAG.sub(r"tags.`sr.\1`", part) for k, part in enumerate(parts))


def download_runs(
    uri: str, run_ids: Sequence[str], folder: Path, names: Sequence[str], found: Mapping[str, FoundRun]
) -> dict[str, DownloadedRun | UserError]:
    """Download the files of these names, as far as each run has them, to `folder/RUN_ID`; return by ID the run, or why not.

    `found` has runs that need not be searched again, by ID.
    """
    if not run_ids:
        return {}
    with _explain_failure(f"runs=mlflow:{run_ids[0]}", uri):
        client = open_existing(uri)

    def download(run_id: str) -> DownloadedRun | UserError:
        target = folder / run_id
        try:
            run = found.get(run_id) or _make_found_run(client.get_run(run_id))
            target.mkdir(parents=True)
            artifacts = RunArtifacts(run.artifacts, uri)
            listed = {artifact.path for artifact in artifacts.list_artifacts(run_id)}
            for name in names:
                if name in listed:
                    download_artifact(artifacts, run_id, name, target)
        except UserError as error:
            return error
        except Exception as error:  # whatever MLflow raises
            return UserError(f"MLflow at {describe_location(uri)} does not give it ({describe_error(error)})")
        return DownloadedRun(target, run.name, run.status)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        return dict(zip(run_ids, pool.map(download, run_ids), strict=True))


def _list_runs(client: Any, experiment_ids: Sequence[str], condition: str) -> Iterator[Any]:
    """Yield runs, the oldest first."""
    token = None
    while True:
        page = client.search_runs(
            experiment_ids, condition, max_results=PAGE_SIZE, order_by=["attributes.start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _describe_values(client: Any, experiment_ids: Sequence[str], condition: str) -> str:
    """Return which values the tags have that a condition names, for the message that no run meets it."""
    runs = list(_list_runs(client, experiment_ids, ""))
    parts = [f"{len(runs)} runs were searched"]
    for tag in dict.fromkeys(_FILTERED_TAG.findall(condition)):
        values = sorted({run.data.tags[tag] for run in runs if tag in run.data.tags})
        shown = ", ".join(values[:MAX_VALUES_SHOWN]) + (" …" if len(values) > MAX_VALUES_SHOWN else "")
        parts.append(f"tags.{tag.removeprefix('sr.')} has {f'the values {shown}' if values else 'no value'}")
        if tag == DATA_TAG:
            parts.append("the folder of the training images is params.`data.path`")
    return f" ({'; '.join(parts)})"


def _make_found_run(run: Any) -> FoundRun:
    folder, info = run.data.tags.get(FOLDER_TAG), run.info
    return FoundRun(
        info.run_id, info.run_name or info.run_id, Path(folder) if folder else None, info.status, info.artifact_uri
    )


@contextlib.contextmanager
def _explain_failure(typed: str, uri: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(("runs=", "filter=")) else f"{typed}: {error}") from None
    except Exception as error:  # whatever MLflow raises
        raise UserError(f"{typed}: MLflow at {describe_location(uri)} refuses it ({describe_error(error)})") from None
