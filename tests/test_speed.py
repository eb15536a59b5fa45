"""The speed of a net, and the costs that a run measures: `cost=[multiply_adds,ms_per_image]`."""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sr.checkpoint.architecture import build_ntire_baseline, compose_net_config
from sr.config.build import build_part
from sr.inference import ntire, speed
from sr.inference.complexity import count_parameters
from sr.inference.multiply_adds import count_multiply_adds
from sr.inference.ntire import measure_ntire_score
from sr.inference.speed import measure_speed
from sr.record.result import TrainingResult
from sr.training.cost import NetCost, measure_cost

CPU = torch.device("cpu")


class Sleeper(nn.Module):
    """A net that needs 2 s for its first image, and 20 ms for each further one."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(7))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, lr: Tensor) -> Tensor:
        time.sleep(0.02 if self.sizes else 2)
        self.sizes.append(tuple(lr.shape))
        return lr.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize("name", ["efdn", "fsrcnn", "imdn", "safmn", "span", "srresnet"])
def test_multiply_adds_are_those_of_pytorch(name: str) -> None:
    """Shapes are inferred without importing torch._dynamo; the count is that of PyTorch's own counter."""
    net = build_part(compose_net_config(name, 4, 3), "model.net").eval()
    lr = torch.empty(1, 3, 40, 56, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        copy.deepcopy(net).to("meta")(lr)
    assert count_multiply_adds(net, 3, 4, (40, 56)) == counter.get_total_flops() // 2 > 0


def test_the_time_is_the_median_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    net, state = Sleeper(), torch.get_rng_state()
    milliseconds, protocol = measure_speed(net, "rgb", CPU)
    assert 20 <= milliseconds < 2000
    assert net.sizes == [(1, 3, 180, 320)] * 6
    assert protocol == {
        "output": "1280x720", "device": "cpu", "threads": torch.get_num_threads(), "statistic": "median", "calls": 5,
        "warm_up_calls": 1,
    }  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_measures_what_is_asked_for() -> None:
    net = nn.Conv2d(3, 12, 3, padding=1)
    net.scale = 2
    config = {"channels": 3, "scale": 2, "color": "rgb", "cost": ["multiply_adds"]}
    parameters = 12 * 3 * 9 + 12
    assert measure_cost(net, config | {"cost": []}, CPU) == NetCost(parameters)
    assert measure_cost(net, config, CPU) == NetCost(parameters, 12 * 3 * 9 * 360 * 640)
    assert asdict(NetCost(parameters)).keys() <= {field.name for field in fields(TrainingResult)}


def test_the_baseline_of_ntire_is_that_of_the_challenge() -> None:
    """NTIRE 2026, efficient super-resolution: SPAN with 0.151 M parameters and 9.83 G multiply-adds of a 256×256 LR image."""
    net = build_ntire_baseline(4, 3)
    assert round(count_parameters(net) / 1e6, 3) == 0.151
    assert round(count_multiply_adds(net, 3, 4, (256, 256)) / 1e9, 2) == 9.83


def test_ntire_score_is_that_of_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a net with the baseline's time, half its multiply-adds and a quarter of its parameters."""
    monkeypatch.setattr(ntire, "_time_call", lambda *_: 0.5)
    monkeypatch.setattr(ntire, "SECONDS", 0)
    net, baseline = (nn.Conv2d(3, 12 * width, 3, padding=1) for width in (1, 4))
    net.scale = baseline.scale = 2
    net.channels = baseline.channels = 3
    score = measure_ntire_score(net, baseline, "rgb", CPU)
    assert score.value == pytest.approx(0.8 * math.e**2 + 0.2 * math.e**0.5, abs=1e-3)
    assert [score.protocol[name] for name in ("time", "multiply_adds", "parameters")] == [1, 0.25, 0.25]


@pytest.mark.long
def test_ntire_score_is_measured_in_turns(sr: Callable, tmp_path: Path, world: Path) -> None:
    """The score follows from the ratios that are stored with it; a self-ensemble has none."""
    words = ("checkpoint=small_x2", "data.test=[Set5]", f"paths.data={world}", "track=journal", "cost=[ntire_score]")
    answer = sr("evaluate", *words)
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").glob("2*")
    summary = json.loads((folder / "summary.json").read_text())
    weights = {"time": 0.8, "multiply_adds": 0.1, "parameters": 0.1}
    expected = sum(weight * math.exp(2 * summary["ntire_protocol"][name]) for name, weight in weights.items())
    assert summary["ntire_score"] == pytest.approx(expected, rel=1e-3)
    assert f"NTIRE score {summary['ntire_score']:.2f}" in answer.out
    answer = sr("evaluate", *words, "ensemble=true")
    assert (answer.code, "expected a network alone (found a self-ensemble)" in answer.err) == (2, True)


@pytest.mark.slow
def test_costs_are_in_the_summary_and_in_the_tracker(sr: Callable, tmp_path: Path, world: Path) -> None:
    words = ("data=folder", f"data.path={world}/photos", "data.patch=16", "data.batch=2", "data.workers=0", "data.repeat=1",
             "model.net.width=4", "track=journal", "trainer.max_steps=2", "stages=[fit]")  # fmt: skip
    answer = sr("run", *words, "cost=[multiply_adds,ms_per_image,ntire_score]")
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").glob("2*")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["parameters"] == 1148
    assert summary["multiply_adds_1280x720"] == 257_126_400
    assert summary["ms_per_image"] > 0
    assert summary["ms_per_image_protocol"]["output"] == "1280x720"
    journal = (folder / "journal.jsonl").read_text()
    assert f'"cost/ms_per_image":{summary["ms_per_image"]}' in journal
    assert "sr.ms_per_image" in journal
    assert f'"cost/ntire_score":{summary["ntire_score"]}' in journal
