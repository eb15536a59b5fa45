"""The objectives of a sweep: which there are, where they are read, and the Pareto front of several."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest

from sr.record.result import SUMMARY_FILE, TrainingResult
from sr.runtime.error import UserError
from sr.sweep.objective import find_directions, list_measured_costs, read_values
from sr.sweep.space import Space, Values, split_overrides
from sr.sweep.study import Study
from sr.sweep.table import format_trials, trials_to_csv

NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}
PROTOCOL = {"_target_": "sr.metric.protocol.Protocol", "name": "edsr", "scale": 2, "color": "rgb"}
NSGA2 = {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 10}


def make_config(objective: Any, **data: Any) -> dict[str, Any]:
    also = {
        "spectrum": {"_target_": "sr.metric.spectrum.Spectrum"},
        "ms_ssim": {"_target_": "sr.metric.ms_ssim.MSSSIM"},
    }
    data = {"val": ["/photos/Set5", "Set14"]} | data
    return {"sweep": {"objective": objective}, "monitor": "psnr", "metric": PROTOCOL | {"also": also}, "data": data}


@pytest.mark.parametrize(
    ("objective", "names", "directions"),
    [
        (None, ["psnr"], ["maximize"]),
        ("spectrum", ["spectrum"], ["minimize"]),
        ("val/Set14/ms_ssim", ["val/Set14/ms_ssim"], ["maximize"]),
        (["val/Set5/spectrum", "ms_per_image"], ["val/Set5/spectrum", "ms_per_image"], ["minimize"] * 2),
        (["parameters", "multiply_adds", "train_seconds"], ["parameters", "multiply_adds", "train_seconds"], ["minimize"] * 3),
    ],
)  # fmt: skip
def test_each_objective_has_its_direction(objective: Any, names: list[str], directions: list[str]) -> None:
    assert list(find_directions(make_config(objective)).items()) == list(zip(names, directions, strict=True))


@pytest.mark.parametrize(
    ("name", "node", "direction"),
    [
        ("niqe_gray", {"_target_": "sr.metric.niqe.NIQE", "variant": "gray"}, "minimize"),
        ("improvement_opensr", {"_target_": "sr.metric.correctness.Correctness", "share": "improvement"}, "maximize"),
        ("omission_opensr", {"_target_": "sr.metric.correctness.Correctness", "share": "omission"}, "minimize"),
    ],
)
def test_a_metric_is_named_as_its_values_are(name: str, node: dict[str, Any], direction: str) -> None:
    """The name, and which values are better, depend on the options of these metrics."""
    config = make_config(name)
    key = name.partition("_")[0]
    config["metric"]["also"] = {key: node}
    assert find_directions(config) == {name: direction}
    config["sweep"]["objective"] = key
    with pytest.raises(UserError, match=f'Did you mean "{name}"'):
        find_directions(config)


def test_only_some_costs_are_measured_on_demand() -> None:
    assert list_measured_costs(["psnr", "parameters", "ms_per_image", "multiply_adds"]) == [
        "ms_per_image",
        "multiply_adds",
    ]


@pytest.mark.parametrize(
    ("objective", "data", "message"),
    [
        ("beauty", {}, r"sweep\.objective=beauty: expected one of psnr, ssim, spectrum, ms_ssim, parameters"),
        ("spectrun", {}, 'Did you mean "spectrum"'),
        ("val/Set7/psnr", {}, r"sweep\.objective=val/Set7/psnr: expected a metric of validation, .* val/Set5/psnr"),
        ("test/Set5/psnr", {}, r"expected a metric of validation"),
        ("psnr", {"val": []}, r"with data\.val=\[\] nothing is validated"),
        (["psnr", "psnr"], {}, r"sweep\.objective=\[psnr,psnr\]: expected each objective once"),
    ],
)
def test_an_objective_that_no_run_measures_is_refused(objective: Any, data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_directions(make_config(objective, **data))


def test_objectives_are_read_from_the_summary(tmp_path: Path) -> None:
    metrics = {"best/val/Set5/psnr": 30.0, "best/val/Set14/psnr": 28.0, "best/val/Set5/lpips": math.nan, "best/step": 9}
    metrics["test/Set5/psnr"] = 1.0
    result = TrainingResult(
        status="FINISHED",
        metrics=metrics,
        train_seconds=7.5,
        parameters=100,
        multiply_adds_1280x720=2000,
        ms_per_image=4.5,
    )
    (tmp_path / SUMMARY_FILE).write_text(result.to_json())
    assert read_values(tmp_path, ["psnr", "train_seconds", "val/Set14/psnr"]) == [30.0, 7.5, 28.0]
    assert read_values(tmp_path, ["parameters", "multiply_adds", "ms_per_image"]) == [100, 2000, 4.5]
    assert read_values(tmp_path, ["psnr", "ssim"]) is None
    assert read_values(tmp_path, ["val/Set5/lpips"]) is None
    assert read_values(tmp_path / "nothing", ["psnr"]) is None


def compute_psnr_and_time(params: dict[str, Any]) -> list[float]:
    """Return PSNR, which a net of some width gains by depth up to a point, and milliseconds, as a function of both."""
    width, depth = int(params["width"]), int(params["depth"])
    return [30 + width / 8 - (depth - width / 2) ** 2 / 10, float(width * depth)]


def find_front(points: dict[int, list[float]]) -> set[int]:
    """Return by brute force the numbers of the points (PSNR, time) that no other one surpasses."""

    def surpasses(other: list[float], point: list[float]) -> bool:
        is_as_good = other[0] >= point[0] and other[1] <= point[1]
        return is_as_good and other != point

    return {
        number
        for number, point in points.items()
        if not any(surpasses(other, point) for other in points.values())
    }  # fmt: skip


def run_study(folder: Path, space: Space, sampler: dict[str, Any] | None, trials: int = 1) -> Study:
    settings = {"sampler": sampler, "pruner": NO_PRUNER, "trials": trials}
    study = Study(folder, space, settings, ["maximize", "minimize"], seed=0)
    while trial := study.start_trial():
        study.record_success(trial.number, compute_psnr_and_time(trial.params))
    return study


def test_the_front_of_a_grid_equals_brute_force(tmp_path: Path) -> None:
    numbers = tuple(map(str, range(1, 9)))
    study = run_study(tmp_path, {"width": Values(numbers), "depth": Values(numbers)}, None)
    points = {trial.number: trial.values for trial in study.trials}
    assert len(points) == 64
    front = {trial.number for trial in study.list_best()}
    assert front == find_front(points)
    pairs = {(t.params["width"], t.params["depth"]) for t in study.list_best()}
    assert {("1", "1"), ("8", "4")} <= pairs  # the fastest, and the best: 30 + 8 / 8 dB
    assert ("8", "8") not in pairs
    assert 3 < len(front) < 32


def test_the_front_of_nsga2_equals_brute_force_and_is_marked(tmp_path: Path) -> None:
    _, space = split_overrides(["width=int(interval(1,64))", "depth=int(interval(1,64))"], is_grid=False)
    study = run_study(tmp_path, space, NSGA2, trials=60)
    points = {trial.number: trial.values for trial in study.trials}
    front = find_front(points)
    assert len(points) == 60
    assert {trial.number for trial in study.list_best()} == front
    trials = study.sort_trials()
    assert {trial.number for trial in trials[: len(front)]} == front  # before all others …
    assert [t.values[0] for t in trials[: len(front)]] == sorted((points[k][0] for k in front), reverse=True)
    rows = list(csv.DictReader(io.StringIO(trials_to_csv(trials, ["psnr", "ms_per_image"], ["width", "depth"], front))))
    assert {int(row["trial"]) for row in rows if row["front"] == "front"} == front  # … and marked
    table = format_trials(trials, ["psnr", "ms_per_image"], ["width", "depth"], front).splitlines()
    assert all(line.endswith("front") for line in table[2 : 2 + min(len(front), 30)])
