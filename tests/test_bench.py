"""`sr.bench`: its rows, and the options that it rejects before it measures anything."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sr.benchmark import comparison, functions, sweep
from sr.benchmark.numpy_imresize import matlab_imresize
from sr.image.resize import imresize
from sr.runtime.error import UserError


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3])
def test_the_numpy_reference_gives_the_same_image(scale: float) -> None:
    """Otherwise the comparison would not be fair."""
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    result = imresize(torch.from_numpy(image).permute(2, 0, 1), scale).permute(1, 2, 0).numpy()
    assert np.array_equal(matlab_imresize(image, scale), result)


def test_a_single_part_writes_its_rows(sr: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    answer = sr("bench", "parts=[metric]", "rounds=1", "threads=1", "out=rows.json")
    assert answer.code == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row.keys() == {"name", "sr", "reference", "ratio", "unit", "reference_name"}
    assert row["ratio"] == row["sr"] / row["reference"] > 0
    assert row["reference_name"] in answer.out
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("parts=[metrics]", 'Did you mean "metric"?'),
        ("parts=[gear]", "this part is now called backend"),
        ("parts=metric", "parts=[metric]"),
        ("parts=[]", "expected a list"),
        ("threads=0", "threads=0: expected a whole number, 1 or more"),
        ("rounds=0", "rounds=0: expected a whole number, 1 or more"),
    ],
)
def test_bench_rejects(sr: Any, typed: str, message: str) -> None:
    answer = sr("bench", "parts=[metric]", typed) if not typed.startswith("parts") else sr("bench", typed)
    assert answer.code == 2
    assert message in answer.err


def test_the_later_work_of_background_threads_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a clock: our call takes 0.1 ms, and 3 ms of later steps; that of the reference 7 ms at once."""
    from sr.benchmark import tracking

    now, pending = 0.0, 0.0

    def step() -> None:
        nonlocal now, pending
        background = min(pending, 1e-3)
        now, pending = now + 1e-3 + background, pending - background

    def log(step: int) -> None:
        nonlocal now, pending
        now, pending = now + 1e-4, pending + 3e-3

    def log_by_reference(step: int) -> None:
        nonlocal now
        now += 7e-3

    monkeypatch.setattr(tracking, "time", SimpleNamespace(perf_counter=lambda: now))
    plans = [
        tracking.LoggingPlan(log, 1, 0, 5.0, 300, is_uploaded=lambda: pending < 1e-9),
        tracking.LoggingPlan(log_by_reference, 0, 4),
    ]
    ours, reference = tracking.measure_costs(step, plans, 2, "test")
    assert ours.call_ms == pytest.approx([0.1, 0.1])
    assert ours.total_ms == pytest.approx([3.1, 3.1])
    assert ours.step_shares == pytest.approx([3.1, 3.1])  # of steps of 1 ms
    assert reference.call_ms == pytest.approx([7.0, 7.0])
    assert reference.total_ms == pytest.approx([7.0, 7.0])


def test_both_sides_of_the_cache_comparison_read_the_same_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "NAMES", {"train": ("brick.png", "ihc.png")})
    monkeypatch.setattr(comparison, "MIN_ROUND_SECONDS", 1e-9)
    for row in functions.compare_functions("cache", rounds=1, threads=1):  # raises if they differ
        assert min(row.sr[0], row.reference[0]) > 0


RUN_STUB = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("paths.runs=")) / "run"
if "seed=1" in sys.argv:
    sys.exit("error: seed=1: boom")
folder.mkdir()
(folder / "run.json").touch()
time.sleep(0.3)
(folder / "summary.json").write_text(json.dumps({"steps_per_second": 5.0}))
"""


def test_the_rows_of_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep takes 4 s to start, and each run 6 s and a step's tenth of a second; two at once take a fifth longer."""

    def run_commands(commands: list[list[str]]) -> sweep.CommandTime:
        words = commands[0]
        steps = next(int(word.removeprefix("trainer.max_steps=")) for word in words if "max_steps" in word)
        runs, jobs, start = len(commands), len(commands), 0.0
        if words[0] == "-m":
            runs, jobs, start = words[-1 - ("sweep.jobs=2" in words)].count(",") + 1, 1 + ("sweep.jobs=2" in words), 4.0
        seconds = start + runs / jobs * (6 + steps / 10) * (1.2 if jobs == 2 else 1.0)
        return sweep.CommandTime(seconds, start + 3, 10.0)

    monkeypatch.setattr(sweep, "run_commands", run_commands)
    overhead, first_run, jobs, bare = sweep.compare_sweeps({"rounds": 2})
    assert (overhead.sr, overhead.reference) == ([1.0, 1.0], [8.0, 8.0])  # (4 + 4·8)/4 − 8
    assert (first_run.sr, first_run.reference) == ([7.0, 7.0], [3.0, 3.0])
    # 20 s at 10 steps/s are 200 steps: 26 s a run.
    assert jobs.sr == pytest.approx([60 * 4 / 59.4] * 2)  # 4 + 2·26·1.2, of which the first run begins after 7 s
    assert jobs.reference == pytest.approx([2 * 60 * 2 / 49] * 2)
    assert bare.sr[0] / bare.reference[0] == pytest.approx(23 / 28.2)
    assert "200 steps" in jobs.name


def test_commands_of_a_sweep_are_timed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "COMMAND", (sys.executable, "-c", RUN_STUB))
    time = sweep.run_commands([["seed=0"]])
    assert time.total - time.first_run == pytest.approx(0.3, abs=0.25)
    assert time.steps_per_second == 5.0
    with pytest.raises(UserError, match="a run of the benchmark failed: error: seed=1: boom"):
        sweep.run_commands([["seed=1"]])


@pytest.mark.slow(25)
def test_a_sweep_is_timed_by_its_command() -> None:
    time = sweep.run_commands([sweep._list_sweep_words(2, 2)])
    assert time.total > time.first_run > 0 < time.steps_per_second
