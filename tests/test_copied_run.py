"""A run's folder that was copied becomes a run of its own when it is resumed; one that was moved stays the same run."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sender_thread import copy_database

from sr.record.identity import read_identity
from sr.record.journal_format import list_points
from sr.record.orphans import mark_orphaned_runs
from sr.record.past import find_origin
from sr.track.mlflow import MLflow
from sr.track.sync import sync_runs
from sr.track.upload import has_unsent_entries

pytestmark = pytest.mark.usefixtures("sender_thread")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    copy_database(tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


def run(folder: Path, steps: range, status: str = "FINISHED") -> str:
    """Begin or resume a run, log these steps, and end it; return its ID in MLflow."""
    folder.mkdir(exist_ok=True)
    tracker = MLflow(None, str(folder.parent), "sr")
    tracker.start("a run", folder, {"seed": str(steps.start)}, ["seed=1"], {"sr.verb": "run"})
    for step in steps:
        tracker.log_points({"train/loss": 1 / (1 + step)}, step)
    tracker.mark_saved(steps.stop)
    tracker.close(status)
    return tracker.run_id


def read_steps(runs: Path, run_id: str) -> list[int]:
    return sorted(p.step for p in MlflowClient(f"sqlite:///{runs}/mlflow.db").get_metric_history(run_id, "train/loss"))


def test_a_copy_that_is_resumed_is_a_run_of_its_own(runs: Path, capfd: Any) -> None:
    first = run(runs / "a", range(3))
    shutil.copytree(runs / "a", runs / "b")
    assert "copy" not in capfd.readouterr().out
    second = run(runs / "b", range(3, 6))
    assert f"{runs / 'b'}: a copy of {runs / 'a'}, so it continues as a run of its own" in capfd.readouterr().out
    assert first != second
    assert (read_steps(runs, first), read_steps(runs, second)) == ([0, 1, 2], [0, 1, 2, 3, 4, 5])
    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    one, two = client.get_run(first), client.get_run(second)
    assert (one.info.status, two.info.status) == ("FINISHED", "FINISHED")
    assert (one.data.tags["sr.folder"], two.data.tags["sr.folder"]) == (str(runs / "a"), str(runs / "b"))
    assert (one.data.params["seed"], two.data.params["seed"]) == ("0", "3")
    assert two.data.tags["sr.copied_from"] == str(runs / "a")
    ids = [read_identity(runs / name) for name in "ab"]
    assert (ids[0].id, ids[0].run_id, ids[1].run_id) != (ids[1].id, first, second)
    assert [step for _, step, _ in list_points(runs / "b")] == list(range(6))
    # From now on each of both is resumed as itself, in any order.
    assert run(runs / "a", range(3, 4)) == first
    assert run(runs / "b", range(6, 7)) == second
    assert (len(read_steps(runs, first)), len(read_steps(runs, second))) == (4, 7)
    assert "copy" not in capfd.readouterr().out


def test_a_folder_that_was_moved_is_the_same_run(runs: Path, capfd: Any) -> None:
    first = run(runs / "a", range(3))
    (runs / "a").rename(runs / "b")
    run(runs / "a", range(2))  # another run, at the place of the first one
    assert run(runs / "b", range(3, 6)) == first
    assert f"{runs / 'b'}: was moved here from {runs / 'a'}, and continues as the same run" in capfd.readouterr().out
    assert read_steps(runs, first) == [0, 1, 2, 3, 4, 5]
    assert run(runs / "b", range(6, 7)) == first
    (runs / "c").symlink_to(runs / "b")  # another path of the same folder
    assert run(runs / "c", range(7, 8)) == first
    assert "moved" not in capfd.readouterr().out


def test_a_copy_does_not_speak_for_its_original(runs: Path, capfd: Any) -> None:
    """A folder that was copied while its run was running is found dead when that run has ended."""
    first = run(runs / "a", range(3))
    shutil.copytree(runs / "a", runs / "b")
    (runs / "b" / "run.json").write_text(
        json.dumps(json.loads((runs / "b" / "run.json").read_text()) | {"status": "RUNNING", "pid": 2**22 + 1})
    )
    assert mark_orphaned_runs(runs) == [runs / "b"]
    assert find_origin(runs / "b") == runs / "a"
    assert sync_runs([str(runs / "b")], str(runs))
    assert f"b: a copy of {runs / 'a'}, which sends its own journal" in capfd.readouterr().out
    run(runs / "c", range(1))  # its process also sends the status of runs that were found dead
    assert MlflowClient(f"sqlite:///{runs}/mlflow.db").get_run(first).info.status == "FINISHED"
    assert not has_unsent_entries(runs / "b", f"sqlite:///{runs}/mlflow.db", runs)


def test_a_run_killed_before_its_journal_is_killed_and_begins_when_it_is_resumed(runs: Path, sr: Any) -> None:
    """In every moment between run.json and the first line of the journal."""
    for name, journal in (("a", None), ("b", b""), ("c", b'0123abcd {"open":{"id"')):
        folder = runs / f"20260101-000000_{name}"
        run(folder, range(1), "KILLED")
        identity = json.loads((folder / "run.json").read_text())
        shutil.rmtree(folder)
        folder.mkdir()
        never_sent = {"id": name * 32, "run_id": None, "status": "RUNNING", "pid": 2**22 + 1}
        (folder / "run.json").write_text(json.dumps(identity | never_sent))
        if journal is not None:
            (folder / "journal.jsonl").write_bytes(journal)
        assert mark_orphaned_runs(runs) == [folder]
        assert read_identity(folder).status == "KILLED"
        assert mark_orphaned_runs(runs) == []
        os.utime(folder / "run.json", (0, 0))
        assert f"{folder.name} (KILLED)" in sr("clean", f"paths.runs={runs}", f"paths.cache={runs}/cache").out
        assert sync_runs([], str(runs))
        assert read_steps(runs, run(folder, range(4))) == [0, 1, 2, 3]
