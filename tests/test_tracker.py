"""The interface of trackers: what is outside of sr/track knows no tracker by name, and a new one takes two files."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sender_thread import copy_database

from sr.lifecycle.tracked_run import TrackedRun
from sr.record.identity import FAILED, FINISHED, KILLED
from sr.record.journal_format import JOURNAL_FILE, append_entries, read_entries
from sr.track.journal import Journal
from sr.track.mlflow_format import MAX_PARAMETER_LENGTH, MAX_TAG_LENGTH, convert_tag, limit_parameter
from sr.track.none import NoTracker
from sr.track.run_address import parse_run_id
from sr.track.tracker import Tracker
from sr.track.upload import Upload

ROOT = Path(__file__).resolve().parents[1]


def test_only_trackers_know_mlflow() -> None:
    """No other module imports MLflow, or knows a name of its tags, variables or files; messages may say where a run is."""
    found = []
    for path in sorted((ROOT / "sr").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                names += re.findall(r"(?<!sr\.track\.)\bmlflow[.-]\w+|MLFLOW_\w*", node.value)
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.lower().startswith("mlflow")]
    # The words are those that users type; Ray passes on all variables that begin so.
    allowed = ("sr/track/", "sr/config/suggestion.py", "sr/config/hydra_error.py", "sr/sweep/pool/ray.py")
    assert [name for name in found if not name.startswith(allowed)] == []
    assert any(name.startswith("sr/track/") for name in found)


@pytest.mark.usefixtures("sender_thread")
@pytest.mark.group("track")
def test_every_config_builds_a_tracker(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    """It takes every report of a run, and a run goes on without what it does not implement."""
    config = compose(f"track={choice}", f"paths.runs={tmp_path}/runs")
    tracker = build.build_part(config["track"], "track")
    assert isinstance(tracker, Tracker)
    assert tracker.is_tracking == (choice != "none")
    folder = tmp_path / "runs" / "20260101-000000_x"
    folder.mkdir(parents=True)
    tracker.start("a run", folder, {"scale": "2"}, [], {"sr.verb": "run"})
    tracker.log_points({"a": 1.0}, 1)
    tracker.log_text("note.txt", "text")
    tracker.set_tag("sr.x", "y")
    tracker.set_description("a description")
    tracker.log_dataset("Set5", "0123", "/data/Set5", "test")
    called: list[int] = []
    tracker.call_when_flushed(lambda: called.append(1))
    tracker.flush()
    assert called == [1]
    tracker.mark_saved(1)
    tracker.rewind(1)
    tracker.close("FINISHED")


class SlowTracker(NoTracker):
    """Counts the waits for its page."""

    waits = 0

    def wait_for_page(self) -> None:
        self.waits += 1


@pytest.mark.parametrize(("status", "waits"), [(FINISHED, 1), (FAILED, 0), (KILLED, 0)])
def test_only_a_finished_run_waits_for_its_page(status: str, waits: int, tmp_path: Path) -> None:
    """A scheduler kills a run that it has asked to end soon after."""
    tracker, stored = SlowTracker(), []
    run = TrackedRun(None, tracker, tmp_path)
    run._is_open = True
    run._close(SimpleNamespace(store=stored.append, print=lambda status: None), status, None)
    assert (stored, tracker.waits) == ([status], waits)


OWN_TRACKER = '''
from pathlib import Path

from sr.track.none import NoTracker


class TextFile(NoTracker):
    """Appends every report to a text file in the run's folder."""

    is_tracking = True

    def start(self, title, folder, params, overrides, tags):
        self.file = folder / "report.txt"
        self.location_line = f"report      {self.file}"

    def log_points(self, values, step):
        with self.file.open("a") as file:
            file.write("".join(f"{step} {name} {float(value)}\\n" for name, value in values.items()))

    def set_description(self, text):
        self.file.with_name("description.txt").write_text(text)

    def close(self, status, exit=None):
        with self.file.open("a") as file:
            file.write(f"{status}\\n")
'''


def test_a_tracker_of_the_users_own_is_two_files(sr: Any, world: Path, tmp_path: Path) -> None:
    """A module and a YAML file below --config-dir; nothing of sr has to change."""
    (tmp_path / "mine" / "track").mkdir(parents=True)
    (tmp_path / "mine" / "text_file.py").write_text(OWN_TRACKER)
    (tmp_path / "mine" / "track" / "text.yaml").write_text("_target_: text_file.TextFile\n")
    words = (
        "data=folder", f"data.path={world}/photos", "model.net.width=4", "model.net.depth=2", "data.patch=32",
        "data.batch=2", "trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.accelerator=cpu",
    )  # fmt: skip
    answer = sr("run", f"--config-dir={tmp_path}/mine", "track=text", *words)
    assert answer.code == 0, answer.err
    (report,) = tmp_path.glob("runs/*/report.txt")
    lines = report.read_text().splitlines()
    assert any(line.startswith("2 val/folder") for line in lines)
    assert lines[-1] == "FINISHED"
    assert "Protocol" in report.with_name("description.txt").read_text()
    assert f"report      {report}" in answer.out


def test_tags_of_a_journal_become_those_that_mlflow_shows(tmp_path: Path) -> None:
    """Those of track=journal, and those of journals of earlier versions, which have MLflow's names already."""
    from mlflow import MlflowClient

    tracker = Journal(str(tmp_path), "test")
    tracker.start(
        "a run", tmp_path, {}, [], {"sr.verb": "run", "sr.git.commit": "abc", "sr.user": "me", "sr.seed": "0"}
    )
    tracker.set_description("x" * 5000)
    tracker.set_tag("sr.alarm.x", "y" * 5000)
    tracker.close("FINISHED")
    append_entries(tmp_path / JOURNAL_FILE, [{"tag": "mlflow.source.git.branch", "value": "old"}])
    assert not any("mlflow" in str(placed.entry) for placed in list(read_entries(tmp_path / JOURNAL_FILE))[:-1])
    copy_database(tmp_path / "mlflow.db")
    upload = Upload(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    upload.send_all()
    tags = MlflowClient(upload.uri).get_run(upload.run_id).data.tags
    assert tags["mlflow.note.content"] == "x" * 5000
    assert tags["sr.alarm.x"] == "y" * MAX_TAG_LENGTH
    assert {key: tags[key] for key in ("mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")} == {
        "mlflow.source.name": "sr.run", "mlflow.source.type": "LOCAL", "mlflow.source.git.commit": "abc",
    }  # fmt: skip
    assert (tags["mlflow.source.git.branch"], tags["mlflow.user"]) == ("old", "me")
    assert (tags["sr.verb"], tags["sr.seed"]) == ("run", "0")
    assert not {"sr.git.commit", "sr.user", "sr.description"} & tags.keys()


def test_tags_of_earlier_journals_are_not_changed() -> None:
    assert dict(convert_tag("mlflow.note.content", "text")) == {"mlflow.note.content": "text"}


def test_a_long_parameter_is_replaced_and_never_cut() -> None:
    assert limit_parameter("x" * MAX_PARAMETER_LENGTH) == "x" * MAX_PARAMETER_LENGTH
    assert limit_parameter("x" * 7000) == "7000 characters, see config.yaml"


@pytest.mark.parametrize(("word", "run_id"), [("mlflow:abc", "abc"), ("mlflow:", ""), ("best.ckpt", None), ("", None)])
def test_a_tracked_run_is_named_by_its_id(word: str, run_id: str | None) -> None:
    assert parse_run_id(word) == run_id
