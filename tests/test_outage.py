"""A real MLflow server that is killed, slow or broken: the run ends well, and loses no point and no image."""

import json
import os
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

pytestmark = pytest.mark.slow

STEPS = 360
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
    command = [sys.executable, "-m", "sr.run", *WORDS, f"track.uri={uri}", f"paths.runs={runs}", *words]
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


def sync(run: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "sr.sync", str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_server_killed_and_not_restarted_before_the_end(tmp_path: Path) -> None:
    server = LocalServer()
    server.start()
    run = begin(server.uri, tmp_path / "runs")
    wait_for(lambda: is_training(tmp_path / "runs"))
    server.kill()
    said = ends_well(run)
    assert said.count("does not answer") == 1
    assert "python -m sr.sync" in said
    assert (
        subprocess.run([sys.executable, "-m", "sr.sync", str(folder(tmp_path / "runs"))], check=False).returncode == 1
    )
    server.start()
    for _ in range(2):  # the second changes nothing
        sync(folder(tmp_path / "runs"))
        check(server.uri, folder(tmp_path / "runs"))
    server.kill()


def test_server_killed_and_restarted_during_the_run(tmp_path: Path) -> None:
    server = LocalServer()
    server.start()
    run = begin(server.uri, tmp_path / "runs", "model.net.width=64", "model.net.depth=6")
    wait_for(lambda: is_training(tmp_path / "runs"))
    server.kill()
    server.start()
    ends_well(run)
    sync(folder(tmp_path / "runs"))  # where it was not back soon enough
    check(server.uri, folder(tmp_path / "runs"))
    server.kill()


def test_server_that_answers_three_seconds_late(server: LocalServer, tmp_path: Path) -> None:
    with FaultProxy(server.port) as proxy:
        run = begin(proxy.uri, tmp_path)
        wait_for(lambda: is_training(tmp_path))
        proxy.set_mode("delayed")
        ends_well(run)
        proxy.set_mode("open")
        sync(folder(tmp_path))
    check(server.uri, folder(tmp_path))


def test_server_that_answers_500_from_the_start(server: LocalServer, tmp_path: Path) -> None:
    """The run is unknown to MLflow until it is synced."""
    with FaultProxy(server.port) as proxy:
        proxy.set_mode("failing")
        said = ends_well(begin(proxy.uri, tmp_path))
        assert proxy.set_mode("open") > 1  # it was tried again
        assert said.count("does not answer") == 1
        sync(folder(tmp_path))
    check(server.uri, folder(tmp_path))
