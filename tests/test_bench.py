"""`sr.bench`: its rows, and what it refuses before anything is measured."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sr.benchmark import functions
from sr.benchmark.functions import matlab_imresize
from sr.image.resize import imresize


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3])
def test_the_numpy_rival_gives_the_very_picture(scale: float) -> None:
    """Otherwise it would be no rival."""
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    ours = imresize(torch.from_numpy(image).permute(2, 0, 1), scale).permute(1, 2, 0).numpy()
    assert np.array_equal(matlab_imresize(image, scale), ours)


def test_a_part_alone_writes_its_rows(sr: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    answer = sr("bench", "parts=[metric]", "rounds=1", "threads=1", "out=rows.json")
    assert answer.code == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row.keys() == {"name", "ours", "rival", "ratio", "unit", "rival_is"}
    assert row["ratio"] == row["ours"] / row["rival"] > 0
    assert row["rival_is"] in answer.out
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("parts=[metrics]", 'Did you mean "metric"?'),
        ("parts=metric", "parts=[metric]"),
        ("parts=[]", "expected a list"),
        ("threads=0", "threads=0: expected a whole number, 1 or more"),
        ("rounds=0", "rounds=0: expected a whole number, 1 or more"),
    ],
)
def test_bench_refuses(sr: Any, typed: str, said: str) -> None:
    answer = sr("bench", "parts=[metric]", typed) if not typed.startswith("parts") else sr("bench", typed)
    assert answer.code == 2
    assert said in answer.err


def test_what_threads_behind_take_later_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: a call takes 0.1 ms, and 3 ms of later steps; the rival's 7 ms at once."""
    from sr.benchmark import tracking

    now, behind = 0.0, 0.0

    def work() -> None:
        nonlocal now, behind
        taken = min(behind, 1e-3)
        now, behind = now + 1e-3 + taken, behind - taken

    def told(step: int) -> None:
        nonlocal now, behind
        now, behind = now + 1e-4, behind + 3e-3

    def logged(step: int) -> None:
        nonlocal now
        now += 7e-3

    monkeypatch.setattr(tracking, "time", SimpleNamespace(perf_counter=lambda: now))
    ways = [
        tracking.TrackerCalls(told, 1, 0, 5.0, 300, sent=lambda: behind < 1e-9),
        tracking.TrackerCalls(logged, 0, 4),
    ]
    ours, rival = tracking._costs(work, ways, 2, "test")
    assert ours.calls == pytest.approx([0.1, 0.1])
    assert ours.whole == pytest.approx([3.1, 3.1])
    assert ours.shares == pytest.approx([3.1, 3.1])  # of steps of 1 ms
    assert rival.calls == pytest.approx([7.0, 7.0])
    assert rival.whole == pytest.approx([7.0, 7.0])


def test_the_bench_compares_the_same_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "TRAIN", ("brick.png", "ihc.png"))
    monkeypatch.setattr(functions, "LEAST", 1e-9)
    for row in functions.rows("cache", rounds=1, threads=1):  # raises where they differ
        assert min(row["ours"][0], row["rival"][0]) > 0
