"""What is left over and can go: it is found and told of first, and nothing else is ever removed.

Links are never followed: one that lies in a run's folder is removed as a link, a run's folder that is one stays.
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

from sr.data.cache import Cache
from sr.record.checkpoint_files import PART_SUFFIX, SUFFIX
from sr.record.identity import FAILED, KILLED, RUN_FILE, RUNNING, list_runs, read_identity
from sr.record.orphans import mark_orphaned_runs
from sr.record.result import SUMMARY_FILE, read_run_result
from sr.runtime import terminal
from sr.track.server import resolve_address
from sr.track.upload import Upload

KINDS = ("cache", "checkpoints", "failed", "artifacts")
RUN = re.compile(r"\d{8}-\d{6}_.+")  # a run's folder
ID = re.compile(r"[0-9a-f]{32}")  # MLflow's of a run
ENDED = (FAILED, KILLED)
DAY = 86_400.0  # seconds; a folder without run.json, of an older sr, in which nothing has changed for one is nobody's
SQLITE = "sqlite:///"


class Leftover(NamedTuple):
    """One row of what can go: files (and links) below `root`, and the folders that are removed where nothing is left in them."""

    kind: str
    what: str  # in the user's words
    root: Path
    files: list[Path]
    folders: list[Path]  # the deepest first

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(_size(file) for file in self.files)

    def remove(self) -> tuple[int, int]:
        """How many files went, and their bytes. What cannot be removed is told of."""
        count = freed = 0
        for file in self.files:
            size = _size(file)
            try:
                if file.parent.resolve().is_relative_to(self.root):  # still: somebody may have put a link in its way
                    file.unlink()
                    count, freed = count + 1, freed + size
            except FileNotFoundError:
                pass  # another process was quicker
            except OSError as error:
                print(f"note: {file} cannot be removed ({error.strerror or error})", file=sys.stderr)
        for folder in self.folders:
            with contextlib.suppress(OSError):  # not empty: something has come since
                folder.rmdir()
        return count, freed


def find_leftovers(runs: Path, cache: Path, what: Collection[str], days: float) -> list[Leftover]:
    """Leftovers of these kinds; runs that failed longer than `days` ago. No file is in two of them."""
    runs, cache = runs.expanduser().resolve(), cache.expanduser().resolve()
    deleted = _deleted(runs) if {"checkpoints", "artifacts"} & set(what) else set()
    found = list(_cached(cache)) if "cache" in what else []
    failed = list(_failed(runs, days)) if "failed" in what else []
    found += failed
    if "checkpoints" in what:
        gone = {file for leftover in failed for file in leftover.files}
        found += [orphan for orphan in _orphaned(runs, deleted) if not gone.intersection(orphan.files)]
    return found + (list(_artifacts(runs, deleted)) if "artifacts" in what else [])


def remove_leftovers(runs: Path, cache: Path, what: Collection[str], days: float, apply: bool) -> None:
    """Tell of all leftovers, row by row; remove them with `apply`."""
    mark_orphaned_runs(runs.expanduser().resolve())
    found = find_leftovers(runs, cache, what, days)
    if not found:
        print(f"nothing to remove in {runs} and {cache} (what=[{','.join(what)}])")
        return
    rows = [("what", "of", "files", "GB")]
    counts = [leftover.remove() if apply else (len(leftover.files), leftover.size) for leftover in found]
    for leftover, (count, size) in zip(found, counts, strict=True):
        rows.append((leftover.kind, leftover.what, count, f"{size / 1e9:.3g}"))
    rows.append(("in all", "", sum(count for count, _ in counts), f"{sum(size for _, size in counts) / 1e9:.3g}"))
    print(terminal.format_table(rows))
    print("\nremoved" if apply else "\nnothing was removed: apply=true removes these files")


def _cached(folder: Path) -> Iterator[Leftover]:
    files = Cache(folder, 0).files()
    if files:
        folders = [*dict.fromkeys(file.parent for file in files), folder]
        yield Leftover("cache", f"decoded pictures in {folder}", folder, files, folders)


def _failed(runs: Path, days: float) -> Iterator[Leftover]:
    """Whole folders of runs that ended as FAILED or KILLED; what MLflow has not got is told of, and stays."""
    for folder in _folders(runs):
        known = read_identity(folder)
        if known and known.status in ENDED and time.time() - _changed(folder / RUN_FILE) >= days * DAY:
            if Upload(folder, resolve_address(known, runs), runs).complete:
                yield Leftover("failed", f"{folder.name} ({known.status})", runs, *_content(folder))
            else:
                first = f"python -m sr.sync {folder} comes first"
                print(
                    f"note: {folder.name} ({known.status}) stays: MLflow has not got all of it, {first}",
                    file=sys.stderr,
                )


def _orphaned(runs: Path, deleted: Collection[str]) -> Iterator[Leftover]:
    """Checkpoints of which nobody knows any more, and those that were never written to the end."""
    for folder in _folders(runs):
        known, (files, _) = read_identity(folder), _content(folder)
        if known.status == RUNNING if known else _may_run(folder, files):
            continue
        recorded = known or read_run_result(folder, skip_damaged=True)
        run_id = recorded.run_id if recorded else None
        lost = known is None and not any((folder / name).exists() for name in (SUMMARY_FILE, "config.yaml"))
        why = "of no run" if lost else "its MLflow run was deleted" if run_id in deleted else None
        kept = [file for file in files if file.suffix == PART_SUFFIX or (why and file.suffix == SUFFIX)]
        if kept:
            yield Leftover("checkpoints", f"{folder.name} ({why or 'half-written'})", runs, kept, [])


def _may_run(folder: Path, files: list[Path]) -> bool:
    """Of a folder without an identity that can be read: whether there may be a run at work all the same."""
    return (folder / RUN_FILE).exists() or time.time() - max(map(_changed, files), default=0) < DAY


def _artifacts(runs: Path, deleted: Collection[str]) -> Iterator[Leftover]:
    """What the local MLflow has left of runs that were deleted there."""
    place = runs / "mlartifacts"
    for run_id in sorted(deleted):
        folder = place / run_id
        if ID.fullmatch(run_id) and folder.is_dir() and not place.is_symlink() and not folder.is_symlink():
            yield Leftover("artifacts", f"{run_id} (deleted in MLflow)", runs, *_content(folder))


def _deleted(runs: Path) -> set[str]:
    """The runs that were deleted in the local databases that runs of this folder belong to."""
    addresses = {known.uri for _, known in list_runs(runs) if known.uri and known.uri.startswith(SQLITE)}
    found: set[str] = set()
    for file in {runs / "mlflow.db", *(Path(one.removeprefix(SQLITE)) for one in addresses)}:
        if file.is_file():
            try:
                with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as base:
                    rows = base.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'")
                    found |= {run_id for (run_id,) in rows}
            except sqlite3.Error as error:
                print(f"note: {file} cannot be read ({error}), so what was deleted there is not known", file=sys.stderr)
    return found


def _folders(runs: Path) -> list[Path]:
    """The runs' own, the oldest first."""
    found = sorted(runs.iterdir()) if runs.is_dir() else []
    return [path for path in found if RUN.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _content(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files and links in a folder, and all folders, the deepest first."""
    files, folders = [], []
    for place, inner, names in os.walk(folder, topdown=False, followlinks=False):
        here = Path(place)
        files += [here / name for name in names] + [here / name for name in inner if (here / name).is_symlink()]
        folders.append(here)
    return files, folders


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0


def _changed(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except OSError:
        return time.time()
