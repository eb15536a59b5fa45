"""The implementation of `sr.clean`: find what is left over and may be removed, list it, and remove only what was listed.

Links are never followed: a link in a run's folder is removed as a link, and a run's folder that is a link stays.
"""

import contextlib
import os
import re
import sqlite3
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sr.config.command_line import format_command
from sr.data.cache import Cache
from sr.record.checkpoint_files import LINK_SUFFIX, PART_SUFFIX, SUFFIX
from sr.record.identity import FAILED, KILLED, LOCK_FILE, RUN_FILE, RUNNING, list_runs, read_identity
from sr.record.orphans import mark_orphaned_runs
from sr.record.result import SUMMARY_FILE, read_run_result
from sr.record.run_folder import CONFIG_FILE, NEW_FOLDER_PREFIX, OPTION_FILES
from sr.runtime import terminal
from sr.runtime.error import UserError
from sr.track.address import DATABASE_FILE, find_database, resolve_address
from sr.track.upload import has_unsent_entries
from sr.track.writer import RESERVE_FILE

KINDS = ("cache", "checkpoints", "failed", "artifacts")
RUN_FOLDER = re.compile(r"\d{8}-\d{6}_.+")
MLFLOW_ID = re.compile(r"[0-9a-f]{32}")
DAY = 86_400.0  # seconds; a folder without a readable run.json that has not changed for a day belongs to no running process
HALF_WRITTEN = "half-written"


class Leftover(NamedTuple):
    """One row of the list: files (and links) below `root`, and folders that are removed once they are empty."""

    kind: str  # one of KINDS
    what: str  # description for the user
    root: Path
    files: list[Path]
    folders: list[Path]  # the deepest first

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(_read_size(file) for file in self.files)

    def remove(self) -> tuple[int, int]:
        """Remove the files and folders; return the number of removed files and their bytes, and report what remains."""
        count = freed = 0
        for file in self.files:
            size = _read_size(file)
            try:
                if file.parent.resolve().is_relative_to(
                    self.root
                ):  # a folder may have become a link since it was listed
                    file.unlink()
                    count, freed = count + 1, freed + size
            except FileNotFoundError:
                pass  # another process removed it
            except OSError as error:
                print(f"note: {file} cannot be removed ({error.strerror or error})", file=sys.stderr)
        for folder in self.folders:
            with contextlib.suppress(OSError):  # not empty: there are new files
                folder.rmdir()
        return count, freed


def find_leftovers(runs: Path, cache: Path, what: Collection[str], days: float) -> list[Leftover]:
    """Return the leftovers of the kinds in `what`; of failed runs those older than `days`. No file is in two of them."""
    runs, cache = runs.expanduser().resolve(), cache.expanduser().resolve()
    deleted_ids = _list_deleted_ids(runs) if {"checkpoints", "artifacts"} & set(what) else set()
    leftovers = list(_find_cache(cache)) if "cache" in what else []
    failed = list(_find_failed_runs(runs, days)) if "failed" in what else []
    leftovers += failed
    if "checkpoints" in what:
        listed = {file for leftover in failed for file in leftover.files}
        checkpoints = _find_checkpoints(runs, deleted_ids)
        leftovers += [leftover for leftover in checkpoints if not listed.intersection(leftover.files)]
    return leftovers + (list(_find_artifacts(runs, deleted_ids)) if "artifacts" in what else [])


def remove_leftovers(runs: Path, cache: Path, what: Collection[str], days: float, apply: bool) -> None:
    """Print a table of all leftovers; remove them with `apply`."""
    mark_orphaned_runs(runs.expanduser().resolve())
    leftovers = find_leftovers(runs, cache, what, days)
    if not leftovers:
        print(f"nothing to remove in {runs} and {cache} (what=[{','.join(what)}])")
        return
    rows = [("what", "of", "files", "size")]
    counts = [leftover.remove() if apply else (len(leftover.files), leftover.size) for leftover in leftovers]
    for leftover, (count, size) in zip(leftovers, counts, strict=True):
        rows.append((leftover.kind, leftover.what, count, terminal.format_bytes(size)))
    rows.append(
        ("in all", "", sum(count for count, _ in counts), terminal.format_bytes(sum(size for _, size in counts)))
    )
    print(terminal.format_table(rows))
    print("\nremoved" if apply else "\nnothing was removed: apply=true removes these files")


def _find_cache(folder: Path) -> Iterator[Leftover]:
    files = Cache(folder, 0).list_files()
    if files:
        folders = [*dict.fromkeys(file.parent for file in files), folder]
        yield Leftover("cache", f"decoded images in {folder}", folder, files, folders)


def _find_failed_runs(runs: Path, days: float) -> Iterator[Leftover]:
    """Yield the whole folders of runs that are FAILED or KILLED; one that MLflow does not have whole is reported, and stays."""
    for folder in _list_run_folders(runs):
        identity = read_identity(folder)
        if identity is None and _has_only_options(folder, max(days * DAY, DAY)):
            yield Leftover("failed", f"{folder.name} (never began)", runs, *_list_content(folder))
        if identity is None or identity.status not in (FAILED, KILLED):
            continue
        if time.time() - _read_change_time(folder / RUN_FILE) < days * DAY:
            continue
        try:
            is_unsent = has_unsent_entries(folder, resolve_address(identity, runs), runs)
            sync = format_command("sr.sync", {}, [str(folder)])
            reason = f"MLflow does not have all of it, {sync} comes first" if is_unsent else ""
        except UserError as error:  # a damaged journal
            reason = str(error)
        if reason:
            print(f"note: {folder.name} ({identity.status}) stays: {reason}", file=sys.stderr)
        else:
            yield Leftover("failed", f"{folder.name} ({identity.status})", runs, *_list_content(folder))


def _has_only_options(folder: Path, age: float) -> bool:
    """Return whether a run was killed right after its folder was made, more than `age` seconds ago."""
    files, folders = _list_content(folder)
    is_old = time.time() - max(map(_read_change_time, [folder, *files])) > age
    names = {file.name for file in files if not _is_temporary(file)}
    return is_old and len(folders) == 1 and names - {LOCK_FILE} == set(OPTION_FILES)


def _find_checkpoints(runs: Path, deleted_ids: Collection[str]) -> Iterator[Leftover]:
    """Yield checkpoints that belong to no run any more, and files that were never completed."""
    for folder in _list_run_folders(runs):
        identity, (files, _) = read_identity(folder), _list_content(folder)
        if identity.status == RUNNING if identity else _may_be_running(folder, files):
            continue
        recorded = identity or read_run_result(folder, skip_damaged=True)
        is_deleted = recorded is not None and recorded.run_id in deleted_ids
        # Without a tracker, config.yaml alone says that the folder is a run's.
        is_unknown = identity is None and not any((folder / name).exists() for name in (SUMMARY_FILE, CONFIG_FILE))
        reason = "of no run" if is_unknown else "its MLflow run was deleted" if is_deleted else None
        removable = [file for file in files if _is_temporary(file) or (reason and file.suffix == SUFFIX)]
        if removable:
            yield Leftover("checkpoints", f"{folder.name} ({reason or HALF_WRITTEN})", runs, removable, [])
    for folder in sorted(runs.glob(f"{NEW_FOLDER_PREFIX}*")):
        if folder.is_dir() and not folder.is_symlink() and time.time() - _read_change_time(folder) > DAY:
            yield Leftover("checkpoints", f"{folder.name} ({HALF_WRITTEN})", runs, *_list_content(folder))


def _is_temporary(file: Path) -> bool:
    """Return whether a file of a run that has ended was left by a kill, and is read by nothing."""
    return file.suffix in (PART_SUFFIX, LINK_SUFFIX) or file.name == RESERVE_FILE


def _may_be_running(folder: Path, files: list[Path]) -> bool:
    """Return whether a process may be at work in a folder without a readable identity."""
    return (folder / RUN_FILE).exists() or time.time() - max(map(_read_change_time, files), default=0) < DAY


def _find_artifacts(runs: Path, deleted_ids: Collection[str]) -> Iterator[Leftover]:
    """Yield what the local MLflow still holds of runs that were deleted there."""
    artifacts = runs / "mlartifacts"
    for run_id in sorted(deleted_ids):
        folder = artifacts / run_id
        is_link = artifacts.is_symlink() or folder.is_symlink()
        if MLFLOW_ID.fullmatch(run_id) and folder.is_dir() and not is_link:
            yield Leftover("artifacts", f"{run_id} (deleted in MLflow)", runs, *_list_content(folder))


def _list_deleted_ids(runs: Path) -> set[str]:
    """Return the IDs of runs that were deleted in the local databases that the runs in this folder belong to."""
    databases = {find_database(identity.uri) for _, identity in list_runs(runs) if identity.uri}
    run_ids: set[str] = set()
    for file in {runs / DATABASE_FILE, *databases}:
        if file and file.is_file():
            try:
                with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
                    rows = database.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'")
                    run_ids |= {run_id for (run_id,) in rows}
            except sqlite3.Error as error:
                print(f"note: {file} cannot be read ({error}), so the runs deleted there are unknown", file=sys.stderr)
    return run_ids


def _list_run_folders(runs: Path) -> list[Path]:
    """Return the folders of runs, the oldest first; links are none."""
    paths = sorted(runs.iterdir()) if runs.is_dir() else []
    return [path for path in paths if RUN_FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _list_content(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return all files and links in a folder, and all its folders, the deepest first."""
    files, folders = [], []
    for root, inner, names in os.walk(folder, topdown=False, followlinks=False):
        path = Path(root)
        files += [path / name for name in names] + [path / name for name in inner if (path / name).is_symlink()]
        folders.append(path)
    return files, folders


def _read_size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0


def _read_change_time(file: Path) -> float:
    """Return the time of the last change, now if the file cannot be read."""
    try:
        return file.lstat().st_mtime
    except OSError:
        return time.time()
