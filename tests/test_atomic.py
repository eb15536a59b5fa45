"""A disk that is full: on a small file system of its own, where this machine lets us have one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

pytestmark = pytest.mark.slow

WORDS = (
    "trainer.accelerator=cpu",
    "trainer.max_steps=3000",
    "trainer.val_check_interval=50",
    "checkpoint_steps=10",
    "model.net.width=8",
)


def mount(place: Path, *words: str) -> bool:
    command = ["mount", "-t", "tmpfs", *words, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.name != "posix" or not mount(tmp_path, "-o", "size=3m"):
        pytest.skip("this machine lets us mount no file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def sr(*words: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "sr.run", *words],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.long
def test_a_full_disk_costs_no_more_than_the_steps_since_the_last_checkpoint(small: Path) -> None:
    failed = sr(*WORDS, f"paths.runs={small}")
    assert failed.returncode == 2
    assert "No space left on device" in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    (folder,) = (path.parent for path in small.glob("*/run.json"))
    known = json.loads((folder / "run.json").read_text())
    assert (known["status"], known["exit"]) == ("FAILED", "disk")
    client = MlflowClient(known["uri"])
    assert client.get_run(known["run_id"]).info.status == "FAILED"
    step = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    assert step > 0
    assert not list(folder.glob("*.part"))

    assert mount(small, "-o", "remount,size=60m")
    again = sr(f"resume={folder}", f"trainer.max_steps={step + 20}")
    assert again.returncode == 0, again.stderr
    assert client.get_run(known["run_id"]).info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(known["run_id"], "train/loss")]
    assert sorted(steps) == list(range(1, step + 21))
