"""A sweep of real runs: killed with all its processes, it is finished by the same command, each trial once and bit-equal."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

OPTIONS = (
    "data=folder", "data.patch=16", "data.batch=2", "data.workers=0", "data.repeat=1", "model.net.width=4", "track=journal",
    "trainer.accelerator=cpu", "trainer.max_steps=24", "trainer.val_check_interval=6", "stages=[fit]", "progress=false",
)  # fmt: skip


def start(runs: Path, world: Path, *words: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "sr.run",
        "-m",
        *OPTIONS,
        f"data.path={world}/photos",
        f"paths.runs={runs}",
        *words,
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def read_trials(runs: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of the only sweep's trials.csv by seed and loss."""
    (file,) = runs.glob("sweeps/*/trials.csv")
    return {row["seed"] + row["model/loss"]: row for row in csv.DictReader(file.open())}


@pytest.fixture
def trial_words() -> list[str]:
    return ["seed=0,1", "model/loss=l1,mse"]


def test_a_killed_sweep_is_finished_by_the_same_command(world: Path, tmp_path: Path, trial_words: list[str]) -> None:
    whole = start(tmp_path / "whole", world, *trial_words)
    assert whole.wait(timeout=300) == 0, whole.stdout.read()

    runs = tmp_path / "killed"
    killed = start(runs, world, *trial_words)
    deadline = time.monotonic() + 200
    while len(list(runs.glob("*/last.ckpt"))) < 3 and time.monotonic() < deadline:  # the third trial has a checkpoint
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    again = start(runs, world, *trial_words)
    assert again.wait(timeout=300) == 0, again.stdout.read()

    ours, theirs = read_trials(runs), read_trials(tmp_path / "whole")
    assert set(ours) == set(theirs) == {"0l1", "0mse", "1l1", "1mse"}
    assert len(list(runs.glob("*/run.json"))) == 4  # none was begun anew
    for name, row in ours.items():
        states = [
            torch.load(Path(r["folder"]) / "last.ckpt", weights_only=True)["state_dict"] for r in (row, theirs[name])
        ]
        assert all(torch.equal(states[0][key], value) for key, value in states[1].items()), name
        assert row["psnr"] == theirs[name]["psnr"]


def test_side_by_side_with_a_failing_trial(world: Path, tmp_path: Path) -> None:
    """The third value passes every check, and fails when the data are read."""
    sweep = start(tmp_path, world, "sweep.jobs=2", "seed=0,1", "data.patch=16,4000")
    output, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 3, output
    assert "2 of 4 trials failed" in output
    assert "data.patch=4000" in output
