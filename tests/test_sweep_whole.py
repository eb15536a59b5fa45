"""A sweep of 12 real runs: killed with all its processes, it is finished by the same command, each trial once.

A trial that begins as a fork, is interrupted and resumed gives the weights of the command alone, bit for bit. The other
pools run stubs: test_sweep_pool_kill.py.
"""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sr.record.checkpoint_files import LAST
from sr.record.identity import list_runs
from sr.record.journal_format import JOURNAL_FILE
from sr.record.result import read_run_result

pytestmark = pytest.mark.long

TOO_WIDE = "300000"  # 3.2 TB for one convolution
WIDTHS = ("4", "5", "6", TOO_WIDE, "7", "8", "9", "10", "11", "12", "13", "14")
OPTIONS = (
    "data=folder", "data.patch=16", "data.batch=2", "data.workers=0", "data.repeat=1", "track=journal", "progress=false",
    "trainer.accelerator=cpu", "trainer.max_steps=24", "trainer.val_check_interval=6", "stages=[fit]",
)  # fmt: skip
SWEEP = ("-m", f"model.net.width={','.join(WIDTHS)}", "sweep/pruner=median", "sweep.pruner.n_startup_trials=3")
INTERRUPTED = "model.net.width=6"
SECONDS = 200


def start(runs: Path, world: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "sr.run", *OPTIONS, f"data.path={world}/photos", f"paths.runs={runs}", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_sweep_is_finished_by_the_same_command(world: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    killed = start(runs, world, *SWEEP)
    wait_until(lambda: any(list_runs(runs)))
    os.kill(next(list_runs(runs))[1].pid, signal.SIGKILL)  # as the system does when memory is short
    wait_until(lambda: any((folder / LAST).exists() for folder, run in list_runs(runs) if INTERRUPTED in run.overrides))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    again = start(runs, world, *SWEEP)
    output, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 3, output
    assert "2 of 12 trials failed" in output

    (file,) = runs.glob("sweeps/*/trials.csv")
    rows = {row["model.net.width"]: row for row in csv.DictReader(file.open())}
    assert set(rows) == set(WIDTHS)
    assert rows["4"]["reason"] == "ended by signal 9 (out of memory?)"
    assert "can't allocate memory" in rows[TOO_WIDE]["reason"]
    ended = {
        state: {width for width in rows if rows[width]["state"] == state} for state in ("complete", "pruned", "fail")
    }
    assert ended["fail"] == {"4", TOO_WIDE}
    assert len(ended["complete"]) + len(ended["pruned"]) == 10
    assert ended["complete"] >= {"5", "6", "7"}

    assert sum(run.command == "run" for _, run in list_runs(runs)) == 11  # none was begun again
    assert [run.status for _, run in list_runs(runs) if run.command == "sweep"] == ["FINISHED"]
    page = file.with_name("sweep.html").read_text(encoding="utf-8")
    assert re.search(r"12 of 12 trials: \d finished, \d pruned, 2 failed\.", page)
    assert [run.overrides[-1] for _, run in list_runs(runs) if run.attempts == 2] == [INTERRUPTED]
    for width in ended["pruned"]:
        assert read_run_result(Path(rows[width]["folder"])).status == "FINISHED"
        assert '"sr.pruned"' in (Path(rows[width]["folder"]) / JOURNAL_FILE).read_text()

    alone = start(tmp_path / "alone", world, INTERRUPTED)
    output, _ = alone.communicate(timeout=SECONDS)
    assert alone.returncode == 0, output
    ((folder, _),) = list_runs(tmp_path / "alone")
    expected, state = (
        torch.load(Path(f) / LAST, weights_only=True)["state_dict"] for f in (folder, rows["6"]["folder"])
    )
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    results = [read_run_result(Path(path)).metrics for path in (folder, rows["6"]["folder"])]
    assert results[0] == results[1]
