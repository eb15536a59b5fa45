"""Find what is registered: a run, its checkpoint, and all results of that checkpoint, of the test and of evaluations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sr.comparison.collect import RunCollector, has_source
from sr.comparison.run import ComparedRun
from sr.comparison.selection import list_checkpoint_files
from sr.comparison.source import FORMS, RunFinder, Source
from sr.pretrained.download import compute_sha256
from sr.record.checkpoint_files import BEST
from sr.record.identity import list_runs
from sr.record.journal_format import JOURNAL_FILE
from sr.record.result import read_run_result
from sr.runtime.error import UserError
from sr.track.address import describe_location
from sr.track.run_address import PREFIX
from sr.track.server_error import describe_error
from sr.track.stored_checkpoint import find_checkpoint
from sr.track.upload import send_run

CHANGING_OPTIONS = (
    "ensemble",
    "tile",
    "alpha",
    "interpolate",
    "images",
)  # with which an evaluation is not of the net alone

OWN_FORMS = f"a run's folder, its ID or {PREFIX}RUN_ID"


class Candidate(NamedTuple):
    """A trained net with all its results."""

    run: ComparedRun
    run_ids: list[str]  # of the runs in MLflow that have these results; first that of the training, if it is known


def find_source(word: str, runs: Path) -> Source:
    """Return the one run that `run=word` names."""
    finder = RunFinder(runs)
    try:
        found = finder.find([word])
    except UserError as error:
        raise UserError(str(error).replace("runs=", "run=", 1).replace(FORMS, OWN_FORMS)) from None
    if len(found) != 1 or found[0].file is not None or finder.experiments:
        raise UserError(f"run={word}: expected one run: {OWN_FORMS} (found {len(found)} runs)")
    return found[0]


def read_candidate(collector: RunCollector, word: str, source: Source) -> Candidate:
    """Return the net of the run that was found, with its results and those of evaluations in `paths.runs`.

    What MLflow has not received of these runs is sent. Raises `UserError` if there are no results of the net alone.
    """
    digest = _read_digest(source.folder) if source.folder else None
    others = list(_list_results(collector.finder.runs, digest))
    named = str(source.folder) if source.folder else f"{PREFIX}{source.run_id}"
    found = [run for run in collector.collect([named, *map(str, others)]) if _is_of_net_alone(run)]
    run = next((run for run in found if has_source(run, source)), None)
    run = run or next((run for run in found if run.checkpoint_sha256 == digest is not None), None)
    if run is None:
        reasons = "; ".join(f"{skipped.name}: {skipped.reason}" for skipped in collector.skipped)
        raise UserError(
            f"run={word}: expected a run with results of its best checkpoint ({reasons or 'found none'}); evaluate it: "
            "python -m sr.evaluate checkpoint=…"
        )
    return Candidate(run, _send_runs(word, run, collector.uri))


def read_version(collector: RunCollector, run_ids: Sequence[str], digest: str | None) -> ComparedRun | None:
    """Return the net of a registered version with the results of its runs in MLflow, and of evaluations in `paths.runs`."""
    words = [f"{PREFIX}{run_id}" for run_id in run_ids]
    others = map(str, _list_results(collector.finder.runs, digest))
    found = [run for run in collector.collect([*words, *others]) if _is_of_net_alone(run)]
    same = [run for run in found if digest is None or run.checkpoint_sha256 == digest]
    return max(same, key=lambda run: len(run.scores), default=None)


def find_weights(candidate: Candidate, word: str, uri: str) -> Path:
    """Return the checkpoint of the net, from its folder or from MLflow; raise if it has changed since it was tested."""
    run = candidate.run
    files = dict.fromkeys(file for score in run.scores for file in list_checkpoint_files(run, score))
    for path in filter(Path.is_file, files):
        if run.checkpoint_sha256 in (None, compute_sha256(path)):
            return path
    path = find_checkpoint(f"{PREFIX}{candidate.run_ids[0]}", uri, "run")
    if run.checkpoint_sha256 not in (None, compute_sha256(path)):
        raise UserError(
            f"run={word}: expected the {path.name} that its results are of (found that {path} has changed since); evaluate "
            f"it: python -m sr.evaluate checkpoint={path}"
        )
    return path


def _read_digest(folder: Path) -> str | None:
    result = read_run_result(folder, skip_damaged=True)
    return result.checkpoint_sha256 if result else None


def _list_results(runs: Path, digest: str | None) -> Iterator[Path]:
    """Yield the folders in `paths.runs` of the training and of the evaluations of one checkpoint."""
    for folder, identity in list_runs(runs):
        if digest is not None and identity.command in ("run", "evaluate") and _read_digest(folder) == digest:
            yield folder


def _is_of_net_alone(run: ComparedRun) -> bool:
    """Return whether the results are of the net as it is, by its best checkpoint."""
    is_best = run.options.get("checkpoint", BEST) == BEST
    return run.checkpoint is not None and is_best and not set(CHANGING_OPTIONS) & set(run.options)


def _send_runs(word: str, run: ComparedRun, uri: str) -> list[str]:
    """Send what MLflow has not received of the runs that have the results, and return their IDs there."""
    folders = dict.fromkeys(folder for folder in (run.folder, *(score.folder for score in run.scores)) if folder)
    run_ids = [run.run_id] if run.is_downloaded else []
    for folder in folders:
        if (folder / JOURNAL_FILE).exists():
            try:
                upload = send_run(folder, uri)
            except Exception as error:  # whatever MLflow raises
                place = describe_location(uri)
                raise UserError(f"run={word}: MLflow at {place} does not take it ({describe_error(error)})") from None
            run_ids.append(upload.run_id if upload else None)
    if not any(run_ids):
        raise UserError(
            f"run={word}: expected a run that MLflow has (found one of track=none, of another MLflow, one that is "
            f"running, or a copy); the MLflow is uri={describe_location(uri)}"
        )
    return list(dict.fromkeys(filter(None, run_ids)))
