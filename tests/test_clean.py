"""sr.clean: what it lists, what it leaves alone, and that nothing is removed before it was listed and confirmed."""

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sr.record.identity import Identity, write_identity
from sr.record.journal_format import encode_entry
from sr.track import cleanup

DAY = 86_400
DELETED, ACTIVE = "d" * 32, "a" * 32


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    with sqlite3.connect(folder / "mlflow.db") as base:
        base.execute("CREATE TABLE runs (run_uuid TEXT, lifecycle_stage TEXT)")
        base.executemany(
            "INSERT INTO runs VALUES (?, ?)", [(DELETED, "deleted"), (ACTIVE, "active"), ("../..", "deleted")]
        )
    base.close()
    return folder


@pytest.fixture
def make_run(runs: Path) -> Callable[..., Path]:
    """A run's folder of this status, `days` old, with checkpoints, a half-written one, and a panel."""

    def make(
        name: str,
        status: str | None,
        days: float = 0,
        run_id: str | None = None,
        summary: bool = False,
        config: bool = True,
    ) -> Path:
        folder = runs / f"20260101-120000_{name}"
        (folder / "panels").mkdir(parents=True)
        for file in ("best.ckpt", "last.ckpt", "best.part", "panels/a.png", *["config.yaml"] * config):
            (folder / file).write_text("x" * 100)
        if summary:
            (folder / "summary.json").write_text(json.dumps({"run_id": run_id}))
        if status:
            write_identity(folder, Identity(status=status, run_id=run_id, host=os.uname().nodename, pid=1))
        then = time.time() - days * DAY
        for file in folder.rglob("*"):
            os.utime(file, (then, then))
        return folder

    return make


def list_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def find(runs: Path, *what: str, days: float = 30) -> dict[str, set[str]]:
    """Return the files that would be removed, by row of the list."""
    rows = cleanup.find_leftovers(runs, runs.parent / "cache", what or cleanup.KINDS, days)
    return {row.what: {str(file.relative_to(runs)) for file in row.files} for row in rows}


def test_old_failed_runs_are_removed(make_run: Any, runs: Path) -> None:
    """A run that is running or finished stays, however old, and so does a folder that is not a run's."""
    make_run("failed", "FAILED", 31)
    make_run("killed", "KILLED", 31)
    for name, status, days in (
        ("new", "FAILED", 29),
        ("runs", "RUNNING", 99),
        ("done", "FINISHED", 99),
        ("old", None, 99),
    ):
        make_run(name, status, days, summary=status != "RUNNING")
    (runs / "mine").mkdir()
    write_identity(runs / "mine", Identity(status="FAILED"))
    os.utime(runs / "mine" / "run.json", (0, 0))
    rows = find(runs, "failed")
    assert set(rows) == {"20260101-120000_failed (FAILED)", "20260101-120000_killed (KILLED)"}
    whole = {"best.ckpt", "last.ckpt", "best.part", "panels/a.png", "config.yaml", "run.json"}
    assert rows["20260101-120000_failed (FAILED)"] == {f"20260101-120000_failed/{name}" for name in whole}
    assert set(find(runs, "failed", days=0)) == {*rows, "20260101-120000_new (FAILED)"}


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_failed_run_stays_until_mlflow_has_it(
    status: str, make_run: Any, runs: Path, tmp_path: Path, sr: Any
) -> None:
    """`cursor.json` says what MLflow has, if its database still exists: everything, or nothing yet."""
    (tmp_path / "other.db").touch()
    there, not_there = make_run("there", status, 40), make_run("waits", status, 40)
    uri = f"sqlite:///{tmp_path}/other.db"
    entries = [{"points": {"train/loss": 0.5}, "step": 1, "time": 0}, {"settled": 1}, {"status": status, "time": 1}]
    for folder, sent in ((there, 3), (not_there, 0)):
        write_identity(folder, Identity(status=status, run_id=ACTIVE, uri=uri))
        os.utime(folder / "run.json", (0, 0))
        written = [encode_entry(entry) for entry in entries]
        (folder / "journal.jsonl").write_bytes(b"".join(written))
        cursor = {"uri": uri, "run_id": ACTIVE, "offset": sum(map(len, written[:sent])), "settled": 1}
        (folder / "cursor.json").write_text(json.dumps(cursor))
    answer = sr("clean", f"paths.runs={runs}", f"paths.cache={tmp_path}/cache", "what=[failed]", "apply=true")
    assert answer.code == 0, answer.err
    assert not there.exists()
    assert (not_there / "journal.jsonl").exists()
    assert f"{not_there.name} ({status}) stays" in answer.err
    assert f"python -m sr.sync {not_there} comes first" in answer.err


CHECKPOINTS = {"best.ckpt", "last.ckpt", "best.part"}


@pytest.mark.parametrize(
    ("status", "options", "removed"),
    [
        ("RUNNING", {"days": 99, "run_id": DELETED}, set()),
        ("FINISHED", {"run_id": ACTIVE}, {"best.part"}),
        ("FINISHED", {}, {"best.part"}),  # track=none
        ("FINISHED", {"run_id": DELETED}, CHECKPOINTS),
        ("FAILED", {"run_id": DELETED}, CHECKPOINTS),
        ("FAILED", {"run_id": "e" * 32}, {"best.part"}),  # of another MLflow
        (None, {"days": 2, "config": False}, CHECKPOINTS),
        (None, {"days": 2}, {"best.part"}),  # track=none, killed: nothing but its config says that it is a run
        (None, {"days": 0.5, "config": False}, set()),  # an older sr may be at work there
        (None, {"days": 2, "summary": True}, {"best.part"}),
        (None, {"days": 2, "summary": True, "run_id": DELETED}, CHECKPOINTS),
    ],
)
def test_checkpoints_of_no_run_are_removed(
    status: str | None, options: dict[str, Any], removed: set[str], make_run: Any, runs: Path
) -> None:
    folder = make_run("x", status, **options)
    assert set().union(*find(runs, "checkpoints").values()) == {f"{folder.name}/{name}" for name in removed}


@pytest.mark.parametrize("name", ["best.link", "best_spectrum.link", "last.ckpt.20.part", ".12-34.part", ".reserve"])
def test_what_a_kill_left_of_a_file_is_removed(name: str, make_run: Any, runs: Path) -> None:
    """Temporary files of checkpoints and small files, and the space that the journal reserves."""
    folder = make_run("killed", "KILLED")
    (folder / "best.part").unlink()
    (folder / name).write_text("x")
    assert find(runs, "checkpoints") == {f"{folder.name} (half-written)": {f"{folder.name}/{name}"}}
    (folder / "run.json").unlink()
    write_identity(folder, Identity(host="elsewhere"))  # running
    assert find(runs, "checkpoints") == {}


def test_a_run_with_a_damaged_identity_or_summary_stays(make_run: Any, runs: Path) -> None:
    for name, file in (("one", "run.json"), ("two", "summary.json")):
        (make_run(name, None, 2) / file).write_text("{")
        os.utime(runs / f"20260101-120000_{name}" / file, (0, 0))
    rows = find(runs, "checkpoints", "failed")
    assert rows == {"20260101-120000_two (half-written)": {"20260101-120000_two/best.part"}}


def test_artifacts_of_runs_deleted_in_mlflow_are_removed(runs: Path, tmp_path: Path) -> None:
    for run_id in (DELETED, ACTIVE, "e" * 32):
        (runs / "mlartifacts" / run_id / "artifacts").mkdir(parents=True)
        (runs / "mlartifacts" / run_id / "artifacts" / "a.png").write_text("x")
    (runs / "mlartifacts" / "letter.txt").write_text("mine")
    assert find(runs, "artifacts") == {f"{DELETED} (deleted in MLflow)": {f"mlartifacts/{DELETED}/artifacts/a.png"}}
    (runs / "mlflow.db").write_text("no database")
    assert find(runs) == {}


def test_a_database_elsewhere_is_read_too(make_run: Any, runs: Path, tmp_path: Path) -> None:
    (runs / "mlflow.db").rename(tmp_path / "other.db")
    folder = make_run("x", None)
    write_identity(folder, Identity(status="FINISHED", run_id=DELETED, uri=f"sqlite:///{tmp_path}/other.db"))
    assert set().union(*find(runs).values()) == {f"{folder.name}/{name}" for name in CHECKPOINTS}


def test_no_link_is_followed(make_run: Any, runs: Path, tmp_path: Path, sr: Any) -> None:
    """A run's folder, a folder in it and mlartifacts may be links."""
    outside = tmp_path / "outside"
    (outside / "20260101-120000_away").mkdir(parents=True)
    write_identity(outside / "20260101-120000_away", Identity(status="FAILED"))
    (outside / "precious.ckpt").write_text("mine")
    (outside / DELETED).mkdir()
    (outside / DELETED / "a.png").write_text("mine")
    before = list_names(outside)
    (runs / "20260101-120000_away").symlink_to(outside / "20260101-120000_away")
    (runs / "mlartifacts").symlink_to(outside)
    folder = make_run("failed", "FAILED", 40)
    (folder / "link.ckpt").symlink_to(outside / "precious.ckpt")
    (folder / "folder").symlink_to(outside)
    answer = sr("clean", f"paths.runs={runs}", f"paths.cache={tmp_path}/cache", "days=0", "apply=true")
    assert answer.code == 0, answer.err
    assert list_names(outside) == before
    assert not folder.exists()
    assert (runs / "20260101-120000_away").is_symlink()


def test_a_folder_that_became_a_link_after_it_was_listed_is_left_alone(
    make_run: Any, runs: Path, tmp_path: Path
) -> None:
    folder = make_run("failed", "FAILED", 40)
    (row,) = cleanup.find_leftovers(runs, tmp_path, ["failed"], 30)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    before = list_names(tmp_path / "moved")
    assert row.remove() == (0, 0)
    assert list_names(tmp_path / "moved") == before


def test_files_newer_than_the_list_stay(make_run: Any, runs: Path, tmp_path: Path) -> None:
    folder = make_run("failed", "FAILED", 40)
    (row,) = cleanup.find_leftovers(runs, tmp_path, ["failed"], 30)
    (folder / "panels" / "late.png").write_text("late")
    (folder / "config.yaml").unlink()
    left = 400 + (folder / "run.json").stat().st_size
    assert row.remove() == (5, left)
    assert list_names(folder) == {"panels", "panels/late.png"}


def test_leftovers_are_listed_first_and_removed_with_apply(make_run: Any, runs: Path, tmp_path: Path, sr: Any) -> None:
    """The rows and sums are the same both times; a file of two kinds is listed once."""
    make_run("failed", "FAILED", 40, DELETED)
    make_run("deleted", "FINISHED", 1, DELETED)
    complete = make_run("complete", "FINISHED", 99, ACTIVE)
    (complete / "best.part").unlink()
    before = list_names(runs)
    words = ("clean", f"paths.runs={runs}", f"paths.cache={tmp_path}/cache")
    listed = sr(*words)
    assert listed.code == 0, listed.err
    assert list_names(runs) == before
    rows = {
        line.split()[0]: line.split()[1:]
        for line in listed.out.splitlines()
        if re.match("failed|checkpoints|in all", line)
    }
    assert rows["failed"][:3] == ["20260101-120000_failed", "(FAILED)", "6"]
    assert rows["checkpoints"][0] == "20260101-120000_deleted"
    assert rows["checkpoints"][-3:] == ["3", "300", "bytes"]
    assert rows["in"][1] == "9"
    assert "nothing was removed: apply=true" in listed.out
    some = sr(*words, "what=[checkpoints]", "apply=true")
    assert some.code == 0, some.err
    assert before - list_names(runs) == {
        f"20260101-120000_{run}/{name}" for run in ("deleted", "failed") for name in CHECKPOINTS
    }
    assert sr(*words, "apply=true").code == 0
    assert not (runs / "20260101-120000_failed").exists()
    assert list_names(complete) == {"best.ckpt", "last.ckpt", "panels", "panels/a.png", "config.yaml", "run.json"}
    assert "nothing to remove" in sr(*words, "apply=true").out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("what=[cash]", 'what=cash: expected one of cache, checkpoints, failed, artifacts. Did you mean "cache"?'),
        ("what=cache", "what=cache: expected a list"),
        ("days=-1", "days=-1: expected a number, 0 or more"),
        ("days=long", "days=long: expected a number, 0 or more"),
        ("apply=maybe", "apply=maybe: expected true or false"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(word: str, said: str, sr: Any) -> None:
    answer = sr("clean", word)
    assert answer.code == 2
    assert said in answer.err


def test_missing_folders_have_nothing_to_remove(sr: Any, tmp_path: Path) -> None:
    answer = sr("clean", f"paths.cache={tmp_path}/cache")
    assert answer.code == 0
    assert "nothing to remove" in answer.out
    assert not (tmp_path / "runs").exists()
