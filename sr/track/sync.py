"""The implementation of `sr.sync`: send what MLflow has not received, because it did not answer or a run was killed."""

import contextlib
import math
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from sr.record.identity import find_run, list_runs, read_identity
from sr.record.journal_format import JOURNAL_FILE
from sr.record.orphans import mark_orphaned_runs
from sr.record.past import find_origin
from sr.runtime.error import UserError
from sr.track.address import describe_location, find_database, format_file_uri, resolve_address
from sr.track.mlflow_format import CURSOR_FILE
from sr.track.server import open_existing
from sr.track.server_error import describe_error
from sr.track.upload import Upload, has_unsent_entries, send_run


def sync_runs(folders: Sequence[str], runs: str, uri: str | None = None) -> bool:
    """Send the rest of these runs, or of all in `runs`; return whether all of it was accepted.

    Each goes to the MLflow that it belongs to, or all to the one at `uri`. `folders` may hold IDs of runs as well.
    """
    runs_folder = Path(runs).resolve()
    named = list(_find_folders(folders, runs_folder))
    for parent in {runs_folder, *(folder.parent for folder in named)}:
        mark_orphaned_runs(parent)
    chosen = named or list(_list_incomplete_runs(runs_folder, uri))
    if not chosen:
        print(f"{runs_folder}: MLflow has all of its runs")
    results = [_send_and_report(folder, uri) for folder in chosen]  # all are tried, also after one has failed
    return all(results)


def _find_folders(words: Sequence[str], runs: Path) -> Iterator[Path]:
    for word in words:
        folder = find_run(runs, word, "folders")
        if not (folder / JOURNAL_FILE).exists():
            raise UserError(f"{folder}: there is no {JOURNAL_FILE} in it; expected a run's folder")
        yield folder.resolve()


def _list_incomplete_runs(runs: Path, uri: str | None) -> Iterator[Path]:
    """Yield the folders of runs of which something is not sent, or was sent to a database that is another one now."""
    find_creation_time = cache(_find_creation_time)  # one question for each experiment
    for folder, identity in list_runs(runs):
        if not (folder / JOURNAL_FILE).exists() or identity.is_alive:
            continue
        address = uri or resolve_address(identity, runs)
        try:
            is_complete = not has_unsent_entries(folder, address, runs)
        except UserError:  # a damaged journal, which is reported when it is its turn
            is_complete = False
        if not is_complete or find_creation_time(address, identity.experiment) > _read_change_time(
            folder / CURSOR_FILE
        ):
            yield folder


def _find_creation_time(uri: str, experiment: str | None) -> float:
    """Return when an experiment was created at an MLflow, in seconds since 1970: infinity if it is not there, and 0 if that
    is not known."""
    if experiment is None:  # a run of an older version of sr
        return 0.0
    database = find_database(uri)
    try:
        if database and database.exists():
            return _query_creation_time(database, experiment)
    except sqlite3.Error:
        pass  # busy, or the tables of another version of MLflow, which can be asked itself
    try:
        found = open_existing(uri).get_experiment_by_name(experiment)
    except Exception as error:  # whatever MLflow raises
        problem = f"MLflow at {describe_location(uri)} cannot be asked whether it still has its runs"
        print(f"{problem} ({describe_error(error)})", file=sys.stderr)
        return 0.0
    return (found.creation_time or 0) / 1000 if found else math.inf


def _query_creation_time(database: Path, experiment: str) -> float:
    """Ask MLflow's database itself, as `_find_creation_time`: to import MLflow would take longer than all else."""
    with contextlib.closing(sqlite3.connect(format_file_uri(database, "ro"), uri=True, timeout=1.0)) as connection:
        row = connection.execute("SELECT creation_time FROM experiments WHERE name = ?", [experiment]).fetchone()
    return (row[0] or 0) / 1000 if row else math.inf


def _send_and_report(folder: Path, uri: str | None) -> bool:
    address = uri or resolve_address(read_identity(folder), folder.parent)
    try:
        if origin := find_origin(folder):
            print(
                f"{folder.name}: a copy of {origin}, which sends its own journal; once resumed, the copy has its own run"
            )
            return True
        unsent = Upload(folder, address, folder.parent).unsent_count
    except UserError as error:
        print(f"{folder.name}: not sent: {error}", file=sys.stderr)
        return False
    try:
        upload = send_run(folder, address, any_server=uri is not None)
    except Exception as error:  # whatever MLflow raises
        print(f"{folder.name}: not sent ({describe_error(error)}); {unsent} points and images wait", file=sys.stderr)
        return False
    if upload is None:
        print(f"{folder.name}: it is running, and sends its own journal")
        return True
    unsent = upload.unsent_count
    waiting = f"; {unsent} of later steps than its checkpoint wait for it to be resumed" if unsent else ""
    sent = f"{upload.entries_sent} entries sent" if upload.entries_sent else "nothing to send"
    print(f"{folder.name}: {sent}{waiting}")
    return True


def _read_change_time(file: Path) -> float:
    """Return the time of the last change; infinity if there is no such file."""
    return file.stat().st_mtime if file.exists() else math.inf
