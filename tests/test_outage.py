"""A real MLflow server that is killed, slow or broken: the run ends well, and loses no point and no image."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_for
from mlflow import MlflowClient

from sr.benchmark.fault_proxy import FaultProxy
from sr.record.journal_format import JOURNAL_FILE, drop_superseded, list_points, read_entries
from sr.track.local_server import LocalServer
from sr.track.mlflow_format import convert_metric_name, name_image_files
from sr.track.sync import sync_runs

STEPS = 360
PATIENCE = 20.0  # seconds that the end of a run waits for its server
WORDS = (
    f"trainer.max_steps={STEPS}", "trainer.val_check_interval=120", "trainer.accelerator=cpu", "model.net.width=8",
    "model.net.depth=2", "track.panels=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def begin(uri: str, runs: Path, *words: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = f"import sr.track.mlflow; sr.track.mlflow.FINISH_TIMEOUT = {PATIENCE}; from sr.run import main; main()"
    command = [sys.executable, "-c", code, *WORDS, f"track.uri={uri}", f"paths.runs={runs}", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)


def folder(runs: Path) -> Path:
    return next(path.parent for path in runs.glob("*/run.json"))


def is_training(runs: Path) -> bool:
    """Return whether the first step is in the journal."""
    return any(step > 0 for path in runs.glob("*/run.json") for _, step, _ in list_points(path.parent))


def ends_well(run: subprocess.Popen[str]) -> str:
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    return said


def check(uri: str, run: Path) -> None:
    """Check that MLflow has each point and image of the journal once, and the status."""
    identity = json.loads((run / "run.json").read_text())
    client = MlflowClient(uri)
    stored = client.get_run(identity["run_id"])
    ours: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in list_points(run):
        ours.setdefault(convert_metric_name(name), []).append((step, value))
    assert len(ours["train/loss"]) == STEPS
    assert set(stored.data.metrics) == set(ours)
    for name, points in ours.items():
        assert [(p.step, p.value) for p in client.get_metric_history(identity["run_id"], name)] == points, name
    images = [entry for entry in drop_superseded(read_entries(run / JOURNAL_FILE)) if "image" in entry]
    drawn = {name for one in images for name in name_image_files(one["image"], one["step"], one["time"])}
    there = {Path(one.path).name for one in client.list_artifacts(identity["run_id"], "images")}
    assert drawn
    assert there == drawn
    assert stored.info.status == "FINISHED"


def sync(run: Path) -> bool:
    return sync_runs([str(run)], str(run.parent))


@pytest.mark.long
def test_server_killed_and_not_restarted_before_the_end(server: LocalServer, tmp_path: Path) -> None:
    run = begin(server.uri, tmp_path)
    wait_for(lambda: is_training(tmp_path))
    server.kill()
    said = ends_well(run)
    assert said.count("does not answer") == 1
    assert "python -m sr.sync" in said
    assert not sync(folder(tmp_path))
    server.start()
    for _ in range(2):  # the second changes nothing
        assert sync(folder(tmp_path))
        check(server.uri, folder(tmp_path))


@pytest.mark.long
def test_server_killed_and_restarted_during_the_run(server: LocalServer, tmp_path: Path) -> None:
    run = begin(server.uri, tmp_path)
    wait_for(lambda: is_training(tmp_path))
    run.send_signal(signal.SIGSTOP)  # so that it does not end before the server is back; the process that sends goes on
    server.kill()
    server.start()
    run.send_signal(signal.SIGCONT)
    ends_well(run)
    assert sync(folder(tmp_path))  # where it was not back soon enough
    check(server.uri, folder(tmp_path))


@pytest.mark.long
def test_server_that_answers_three_seconds_late(server: LocalServer, tmp_path: Path) -> None:
    with FaultProxy(server.port) as proxy:
        run = begin(proxy.uri, tmp_path)
        wait_for(lambda: is_training(tmp_path))
        proxy.set_mode("delayed")
        ends_well(run)
        proxy.set_mode("open")
        assert sync(folder(tmp_path))
    check(server.uri, folder(tmp_path))


@pytest.mark.long
def test_server_that_answers_500_from_the_start(server: LocalServer, tmp_path: Path) -> None:
    """The run is unknown to MLflow until it is synced."""
    with FaultProxy(server.port) as proxy:
        proxy.set_mode("failing")
        said = ends_well(begin(proxy.uri, tmp_path))
        assert proxy.set_mode("open") > 1  # it was tried again
        assert said.count("does not answer") == 1
        assert sync(folder(tmp_path))
    check(server.uri, folder(tmp_path))
