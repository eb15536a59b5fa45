"""Sending a journal to MLflow: what may be sent, how often it is tried, and the process that does it."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from sr.record.journal_format import list_points
from sr.record.result import SUMMARY_FILE, TrainingResult, read_run_result
from sr.track.journal import Journal
from sr.track.sender import Sender
from sr.track.sender_process import prepare_sender, start_sender
from sr.track.sync import sync_runs
from sr.track.upload import Upload


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def journal(runs: Path, tmp_path: Path) -> Journal:
    """A run whose journal the test sends itself."""
    tracker = Journal(str(runs), "test")
    tracker.start("a run", tmp_path, {}, [], {})
    return tracker


def upload(journal: Journal) -> Upload:
    return Upload(journal._folder, f"sqlite:///{journal.runs}/mlflow.db", journal.runs)


def send(journal: Journal) -> Upload:
    """Send everything that may be sent."""
    one = upload(journal)
    one.connect()
    one.send_all()
    return one


def losses(upload: Upload) -> list[Any]:
    return MlflowClient(upload.uri).get_metric_history(upload.run_id, "train/loss")


@pytest.mark.slow
def test_a_server_that_dies_loses_neither_the_run_nor_a_point(journal: Journal, tmp_path: Path, capfd: Any) -> None:
    messages: list[dict[str, Any]] = []
    sender = Sender(upload(journal), lambda **words: messages.append(words))
    assert sender.attempt()
    client, sender.upload._client = sender.upload._client, Dead()
    for step in range(5):
        journal.log_points({"train/loss": 0.5}, step)
    journal.log_image("val/x/y", Image.new("RGB", (8, 8)), 1)
    journal.mark_saved(4)
    journal.flush()
    assert not sender.attempt()
    assert not sender.attempt()
    assert messages == [
        {"known": [sender.upload.run_id, sender.upload.experiment_id]},
        {"failed": "the server has died"},
    ]
    journal.log_text(SUMMARY_FILE, TrainingResult(status="FINISHED").to_json())
    journal.close("FINISHED")
    assert upload(journal).unsent_count == 6
    run_id = sender.upload.run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    for _ in range(2):  # the second time there is nothing to do
        assert sync_runs([str(tmp_path)], str(journal.runs), sender.upload.uri)
        assert client.get_run(run_id).info.status == "FINISHED"
        assert [p.step for p in client.get_metric_history(run_id, "train/loss")] == [0, 1, 2, 3, 4]
        assert len(client.list_artifacts(run_id, "images")) == 2
        assert read_run_result(tmp_path).run_id == run_id
    assert "nothing to send" in capfd.readouterr().out


class Dead:
    """A client whose server has died."""

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError("the server has died")


@pytest.mark.slow
def test_the_sending_process_ends_with_its_run_and_ignores_signals(journal: Journal, tmp_path: Path) -> None:
    prepare_sender({"_target_": "sr.track.none.NoTracker"})
    prepare_sender({"_target_": "sr.track.mlflow.MLflow"})
    process = start_sender(tmp_path, upload(journal).uri, journal.runs, [])
    assert [json.loads(process.stdout.readline()).popitem()[0] for _ in range(2)] == ["known", "tried"]
    for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal and SLURM send them, to all processes of a run
        process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.stdin.close()  # as if the run's process was killed
    assert process.wait(10) == 1
    process.stdout.close()


@pytest.mark.slow(2)
def test_points_that_may_become_void_are_not_sent(journal: Journal) -> None:
    """Points after the newest checkpoint wait; those of a killed process are superseded by those of the one that resumes."""
    for step in range(1, 8):
        journal.log_points({"train/loss": float(step)}, step)
        journal.log_image("panel", Image.new("RGB", (8, 8)), step)
        if step == 4:
            journal.mark_saved(4)
    journal.flush()
    assert [p.step for p in losses(send(journal))] == [1, 2, 3, 4]
    journal.rewind(4)  # as if killed here, and resumed
    for step in range(5, 10):
        journal.log_points({"train/loss": -float(step)}, step)
    journal.close("FINISHED")
    history = losses(last := send(journal))
    assert [(p.step, p.value) for p in history] == [*((s, s) for s in range(1, 5)), *((s, -s) for s in range(5, 10))]
    assert len(MlflowClient(last.uri).list_artifacts(last.run_id, "images")) == 2 * 4
    assert [(step, value) for _, step, value in list_points(journal._folder)] == [(p.step, p.value) for p in history]


def test_a_failed_run_that_is_resumed_with_other_options_has_each_step_once(journal: Journal, runs: Path) -> None:
    """Points after its checkpoint wait; a damaged checkpoint rewinds it further, to steps that were sent already."""
    for step in range(1, 8):
        journal.log_points({"train/loss": 1 / step}, step)
        if step in (3, 5):
            journal.mark_saved(step)
    journal.close("FAILED", "NaN or explosion")
    assert MlflowClient(send(journal).uri).get_run(send(journal).run_id).data.tags["sr.exit"] == "NaN or explosion"
    assert [p.step for p in losses(send(journal))] == [1, 2, 3, 4, 5]
    again = Journal(str(runs), "test")
    again.start("a run", journal._folder, {}, [], {"sr.verb": "run"})
    again.rewind(3)
    for step in range(4, 10):
        again.log_points({"train/loss": 1 / step if step <= 5 else -1 / step}, step)
    again.mark_saved(9)
    again.flush()
    run = MlflowClient(send(again).uri).get_run(send(again).run_id)
    assert (run.info.status, run.data.tags["sr.exit"]) == ("RUNNING", "")
    again.close("FINISHED")
    assert send(again).run_id == run.info.run_id
    assert [(p.step, p.value) for p in losses(send(again))] == [(s, 1 / s if s <= 5 else -1 / s) for s in range(1, 10)]
    assert MlflowClient(send(again).uri).get_run(run.info.run_id).info.status == "FINISHED"


def test_a_server_that_is_down_for_days_is_still_tried(journal: Journal) -> None:
    sender = Sender(upload(journal), lambda **words: None)
    sender.failures = 5000
    journal.log_points({"train/loss": 1.0}, 1)
    journal.close("FINISHED")
    sender.done.set()
    sender.run()
    assert [p.value for p in losses(sender.upload)] == [1.0]
