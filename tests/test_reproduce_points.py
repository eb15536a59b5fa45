"""Comparing two runs: metrics and weights that are equal to the last bit, close, or different."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch

from sr.reproduction.metrics import compare_metrics, compute_relative_difference, read_points
from sr.reproduction.outcome import CLOSE, DIFFERENT, EQUAL
from sr.reproduction.weights import compare_weights

# Points


def outcome(original: list[Any], repetition: list[Any], tolerance: float = 1e-3) -> Any:
    (only,) = compare_metrics([("loss", *p) for p in original], [("loss", *p) for p in repetition], tolerance)
    return only


@pytest.mark.parametrize(
    ("repetition", "kind", "step"),
    [
        ([(1, 0.5), (2, 0.25), (3, math.nan)], EQUAL, None),
        ([(1, 0.5), (2, 0.25000001), (3, math.nan)], CLOSE, 2),
        ([(1, 0.5000001), (2, 0.3), (3, math.nan)], DIFFERENT, 2),
        ([(1, 0.5), (2, 0.25), (3, 1.0)], DIFFERENT, 3),
        ([(1, 0.5), (2, 0.25)], DIFFERENT, 3),
        ([(1, 0.5), (2, 0.25), (3, math.nan), (4, 1.0)], DIFFERENT, 4),
    ],
)
def test_points_are_equal_close_or_different_and_from_which_step_on(
    repetition: list[Any], kind: str, step: int | None
) -> None:
    found = outcome([(1, 0.5), (2, 0.25), (3, math.nan)], repetition)
    assert found.kind == kind
    assert found.detail == "" if step is None else found.detail.startswith((f"from step {step} on", f"step {step} is"))


def test_the_tolerance_is_relative_and_zero_means_equal() -> None:
    assert compute_relative_difference(1000.0, 1001.0) == pytest.approx(1 / 1001)
    assert outcome([(1, 1000.0)], [(1, 1000.5)], 1e-3).kind == CLOSE
    assert outcome([(1, 1e-9)], [(1, 2e-9)], 1e-3).kind == DIFFERENT
    assert outcome([(1, 1.0)], [(1, math.nextafter(1.0, 2))], 0.0).kind == DIFFERENT
    assert outcome([(1, math.inf)], [(1, math.inf)]).kind == EQUAL


def test_metrics_that_one_run_lacks_differ_and_those_of_the_machine_are_ignored() -> None:
    original = [("loss", 1, 1.0), ("train/data_wait", 1, 0.3), ("system/cpu_utilization_percentage", 1, 7.0)]
    repetition = [("loss", 1, 1.0), ("train/data_wait", 1, 0.9), ("psnr", 1, 30.0)]
    assert [(one.name, one.kind) for one in compare_metrics(original, repetition, 0.1)] == [
        ("loss", EQUAL),
        ("psnr", DIFFERENT),
    ]
    assert compare_metrics([("loss", 1, 1.0)], [("loss", 1, 1.0), ("loss", 2, 0.5)], 0.1, last_step=1)[0].kind == EQUAL


def test_superseded_and_torn_lines_of_the_journal_are_ignored(tmp_path: Path) -> None:
    entries = [{"points": {"a": step, "b": "nan"}, "step": step, "time": 1} for step in (1, 2, 3)]
    entries += [{"back": 1}, {"points": {"a": 20.0}, "step": 2, "time": 1}, {"tag": "x", "value": "y"}]
    lines = [json.dumps(entry).encode() for entry in entries]
    whole = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines)
    (tmp_path / "journal.jsonl").write_bytes(whole + whole[:20])
    found = list(read_points(tmp_path))
    assert [p for p in found if p[0] == "a"] == [("a", 1, 1.0), ("a", 2, 20.0)]
    assert [(name, step) for name, step, value in found if math.isnan(value)] == [("b", 1)]


# Weights


def test_weights_are_compared_tensor_by_tensor(tmp_path: Path) -> None:
    original, repetition = tmp_path / "original", tmp_path / "repetition"
    for folder in (original, repetition):
        folder.mkdir()
    weight = {"net.a": torch.tensor([1.0, float("nan")]), "net.b": torch.ones(3), "step": torch.tensor(3)}

    def kind(other: dict[str, torch.Tensor]) -> Any:
        for folder, state in ((original, weight), (repetition, weight | other)):
            torch.save({"state_dict": state}, folder / "last.ckpt")
        (only,) = compare_weights(original, repetition, 1e-3)
        return only

    assert kind({}).kind == EQUAL
    close = kind({"net.b": torch.tensor([1.0, 1.0, 1.0 + 1e-6])})
    assert (close.kind, close.detail) == (CLOSE, "most in net.b")
    assert kind({"net.b": torch.tensor([1.0, 1.0, 1.1])}).kind == DIFFERENT
    assert kind({"net.b": torch.ones(4)}).kind == DIFFERENT
    assert kind({"net.c": torch.ones(1)}).kind == DIFFERENT


def test_every_checkpoint_that_the_run_has_is_compared(tmp_path: Path) -> None:
    """Also one that its repetition lacks, and one that was reset; not previous.ckpt, whose step depends on the clock."""
    folders = [tmp_path / name for name in ("original", "repetition")]
    names = ("best.ckpt", "best_mine.ckpt", "best_until_900.ckpt", "last.ckpt", "previous.ckpt")
    for k, folder in enumerate(folders):
        folder.mkdir()
        for name in names:
            torch.save({"net.a": torch.ones(3) + k * (name == "best_until_900.ckpt")}, folder / name)
    (folders[1] / "best_mine.ckpt").unlink()
    outcomes = {outcome.name: (outcome.kind, outcome.detail) for outcome in compare_weights(*folders, 0.0)}
    assert outcomes == {
        "best.ckpt": ("equal", ""), "best_mine.ckpt": ("different", "only in the run, not in its repetition"),
        "best_until_900.ckpt": ("different", "most in net.a"), "last.ckpt": ("equal", ""),
    }  # fmt: skip
