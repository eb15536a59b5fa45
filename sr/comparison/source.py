"""Find the runs that the user names: folders, IDs, sweeps, experiments and filters of MLflow, evaluate.json files."""

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from sr.comparison.run import Skipped
from sr.record.identity import MIN_ID_LENGTH, RUN_FILE, list_runs
from sr.record.result import EVALUATION_FILE, PER_IMAGE_FILE, SUMMARY_FILE
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.terminal import format_count
from sr.track.run_address import parse_run_id

SWEEP, EXPERIMENT = "sweep:", "experiment:"  # before the name of a sweep, or of an experiment of MLflow
SWEEPS_FOLDER, TRIALS_FILE = "sweeps", "trials.csv"
RESULT_FILES = (RUN_FILE, SUMMARY_FILE, EVALUATION_FILE, PER_IMAGE_FILE)  # one of which a run's folder has
FORMS = (
    "a run's folder, a folder of runs, an ID, sweep:NAME, experiment:NAME, mlflow:RUN_ID, models:/NAME@ALIAS or an "
    "evaluate.json"
)


class Source(NamedTuple):
    """One run that the user has named: its folder, an evaluate.json that lies elsewhere, or a run of MLflow."""

    folder: Path | None = None
    file: Path | None = None
    run_id: str | None = None  # of MLflow, whose folder is not known yet


class RunFinder:
    """Finds runs by the words that the user types; `runs` is `paths.runs`."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.skipped: list[Skipped] = []  # trials of a sweep that have no run
        self.experiments: list[str] = []  # that were named

    @cached_property
    def ids(self) -> dict[Path, tuple[str, str]]:
        """Our ID and MLflow's of every run in `paths.runs`, by folder."""
        return {folder: (identity.id, identity.run_id or "") for folder, identity in list_runs(self.runs)}

    def find(self, words: Sequence[str]) -> list[Source]:
        """Return all runs that the words name, each once, in this order; raise if a word names none.

        Experiments are noted in `experiments`: only MLflow knows their runs.
        """
        self.skipped, self.experiments = [], []
        found = [source for word in words for source in self._find(str(word))]
        return list(dict.fromkeys(found))

    def find_folder(self, run_id: str) -> Path | None:
        """Return the folder in `paths.runs` of a run of MLflow, or None."""
        return next((folder for folder, ids in self.ids.items() if run_id in ids), None)

    def _find(self, word: str) -> Iterator[Source]:
        path = Path(word).expanduser()
        if word.startswith(SWEEP):
            yield from self._find_sweep(word.removeprefix(SWEEP))
        elif word.startswith(EXPERIMENT):
            self.experiments.append(word.removeprefix(EXPERIMENT))
        elif run_id := parse_run_id(word):
            folder = self.find_folder(run_id)
            yield Source(folder=folder.resolve()) if folder else Source(run_id=run_id)
        elif path.is_file():
            yield self._find_file(path, word)
        elif folder := next((folder for folder in (path, self.runs / word) if folder.is_dir()), None):
            yield from _list_folder(folder.resolve(), word)
        else:
            yield Source(folder=self._match_id(word).resolve())

    def _find_file(self, file: Path, word: str) -> Source:
        if file.suffix != ".json":
            raise UserError(f"runs={word}: expected {FORMS} (found a file {file.suffix or 'without a suffix'})")
        folder = file.resolve().parent
        is_run = file.name in RESULT_FILES and (folder / RUN_FILE).exists()
        return Source(folder=folder) if is_run else Source(file=file.resolve())

    def _find_sweep(self, name: str) -> Iterator[Source]:
        sweeps = self.runs / SWEEPS_FOLDER
        file = sweeps / name / TRIALS_FILE
        if not name or not file.is_file():
            names = sorted(path.parent.name for path in sweeps.glob(f"*/{TRIALS_FILE}"))
            known = f"found {', '.join(names)}" if names else f"there is no sweep in {self.runs}"
            raise UserError(
                f"runs={SWEEP}{name}: expected the name of a sweep ({known}).{suggest_nearest(name, names)}"
            )
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        for row in rows:
            folder = Path(row.get("folder") or "")
            if row.get("folder") and not folder.is_dir():
                folder = self.runs / folder.name  # the runs were moved
            if row.get("folder") and folder.is_dir():
                yield Source(folder=folder.resolve())
            else:
                reason = row.get("reason") or row.get("state") or "it has not begun"
                self.skipped.append(Skipped(f"trial {row.get('trial')} of {name}", f"it has no run: {reason}"))
        total = int(rows[0].get("total") or 0) if rows else 0  # of an earlier version of sr it is not known
        if total > len(rows):
            missing = f"{total - len(rows)} of {format_count(total, 'trial')} of {name}"
            self.skipped.append(Skipped(missing, "they have not ended: the sweep is running, or was interrupted"))

    def _match_id(self, word: str) -> Path:
        """Return the folder of the run whose ID, ours or MLflow's, begins with the word."""
        is_id = len(word) >= MIN_ID_LENGTH
        matches = [folder for folder, ids in self.ids.items() if is_id and any(one.startswith(word) for one in ids)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(folder.name for folder in matches[:3])
            raise UserError(f"runs={word}: expected the ID of one run (found {len(matches)}: {names}); type more of it")
        hint = suggest_nearest(word, [folder.name for folder in self.ids])
        hint = f" Several runs are a list: 'runs=[{word}]'" if "," in word else hint
        raise UserError(
            f"runs={word}: expected {FORMS} (there is no such file or folder, and none of the {len(self.ids)} runs in "
            f"{self.runs} has this ID).{hint}"
        )


def _list_folder(folder: Path, word: str) -> list[Source]:
    """Return the run in a folder, or all runs in its subfolders."""
    if _is_run(folder):
        return [Source(folder=folder)]
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"runs={word}: expected a folder that can be read ({error.strerror or error})") from None
    runs = [Source(folder=path) for path in inside if _is_run(path)]
    if not runs:
        found = ", ".join(path.name for path in sorted(folder.iterdir())[:4]) or "nothing"
        raise UserError(
            f"runs={word}: expected a run's folder or a folder of runs (found no {' or '.join(RESULT_FILES[:3])} in it or "
            f"in a folder of it: {found})"
        )
    return runs


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RESULT_FILES)
