"""`sr.bench`: its rows, and the options that it rejects before it measures anything."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric
from PIL import Image
from torch import nn

from sr.benchmark import bare_upscaling, comparison, execution, functions, prediction, sending, sweep
from sr.benchmark.against import find_worse_rows
from sr.benchmark.backend import Settings
from sr.benchmark.numpy_imresize import matlab_imresize
from sr.benchmark.turns import EndlessTraining
from sr.image.resize import imresize
from sr.net.srvgg import SRVGGNetCompact
from sr.pretrained.weight_file import write_weights
from sr.runtime.error import UserError
from sr.track.metric_rows import Point, insert_points


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
    assert row.keys() == {"name", "sr", "reference", "ratio", "ratio_range", "unit", "reference_name", "rounds"}
    assert row["ratio_range"][1] >= row["ratio"] >= row["ratio_range"][0] > 0
    assert row["reference_name"] in answer.out
    assert torch.get_num_threads() == threads


def write_rows(file: Path, **ratios: tuple[float, float]) -> Path:
    """Write the rows of a benchmark: least and largest ratio by name; `rate` and `cpu_rate` are rates."""
    units = {"rate": "steps/s", "cpu_rate": "steps/CPU s"}
    rows = [{"name": name, "sr": 1.0, "reference": 1.0, "ratio": sum(r) / 2, "ratio_range": r,
             "unit": units.get(name, "CPU s"), "reference_name": "a script"}
            for name, r in ratios.items()]  # fmt: skip
    file.write_text(json.dumps(rows))
    return file


def test_rows_that_got_worse_by_more_than_their_noise_are_named(tmp_path: Path) -> None:
    both = {"cpu_rate": (1.0, 1.2), "rate": (1.0, 1.2), "time": (1.0, 1.2), "noise": (1.0, 1.5)}
    old = write_rows(tmp_path / "old.json", **both, gone=(1, 1))
    both = {"cpu_rate": (0.8, 0.9), "rate": (0.8, 0.9), "time": (1.3, 1.4), "noise": (1.4, 1.6)}
    new = write_rows(tmp_path / "new.json", **both, added=(9, 9))
    worse = find_worse_rows(*(json.loads(file.read_text()) for file in (new, old)))
    assert [line.partition(":")[0] for line in worse] == ["cpu_rate, steps/CPU s", "rate, steps/s", "time, CPU s"]
    assert "ratio 1.350 [1.300, 1.400], was 1.100 [1.000, 1.200]" in worse[2]
    assert find_worse_rows(*(json.loads(file.read_text()) for file in (old, new))) == []


def test_a_benchmark_that_is_worse_than_an_earlier_one_exits_with_1(sr: Any, tmp_path: Path) -> None:
    words = ("bench", "parts=[metric]", "rounds=1", "threads=1", "out=rows.json")
    assert sr(*words).code == 0
    assert "| ratio [min, max] |" in (tmp_path / "rows.md").read_text()
    rows = json.loads((tmp_path / "rows.json").read_text())
    for factor, code in ((1e-3, 0), (1e3, 1)):  # of rates
        (tmp_path / "old.json").write_text(json.dumps([row | {"ratio_range": [factor] * 2} for row in rows]))
        answer = sr(*words, "against=old.json")
        assert (answer.code, f"{code} of 1 rows are worse than in old.json" in answer.out) == (code, True)
    for content in ("[1]", json.dumps([{"name": "without a ratio"}])):
        (tmp_path / "old.json").write_text(content)
        answer = sr(*words, "against=old.json")
        assert (answer.code, "expected the bench.json" in answer.err) == (2, True)


@pytest.mark.long
def test_sending_is_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides send all scalars of all steps; the first of the two rounds warms up."""
    sent: Counter[str] = Counter()
    log_batch = MlflowClient.log_batch

    def log_and_count(client: MlflowClient, run_id: str, metrics: Sequence[Metric] = (), **others: Any) -> None:
        sent[run_id] += len(metrics)
        log_batch(client, run_id, metrics=metrics, **others)

    def insert_and_count(database: Path, run_id: str, points: list[Point]) -> list[Point]:
        rest = insert_points(database, run_id, points)
        sent[run_id] += len(points) - len(rest)
        return rest

    monkeypatch.setattr(MlflowClient, "log_batch", log_and_count)
    monkeypatch.setattr("sr.track.upload.insert_points", insert_and_count)
    monkeypatch.setattr(sending, "STEPS", 8)
    (row,) = sending.compare_sending({"rounds": 1})
    assert list(sent.values()) == [8 * sending.SCALARS] * 4
    assert (len(row.sr), len(row.reference)) == (1, 1)


def test_modes_are_compared_with_the_loop_of_their_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler the rows of compiled networks are left out."""
    config = {"rounds": 2, "threads": 1, "seconds": 1, "nets": ["plain"], "scale": 2, "color": "rgb", "channels": 3,
              "data": {"_target_": "sr.data.sample.Sample", "batch": 4, "patch": 32}}  # fmt: skip
    runs: list[Sequence[str]] = []

    def measure_rates(trainings: list[EndlessTraining], seconds: float, threads: int, part: str) -> list[float]:
        rates = []
        for training in trainings:
            settings = json.loads(training.input)["settings"] if training.input else None
            if settings and Settings(*settings).compile:
                raise UserError("no compiler")
            runs.extend([] if settings else [training.words])
            rates.append(3.0 if settings is None else 4.0 if Settings(*settings).bf16 else 2.0)
        return rates

    monkeypatch.setattr(execution, "measure_rates", measure_rates)
    monkeypatch.setattr(execution, "has_fast_bf16", lambda device: True)
    rows = list(execution.compare_modes(config))
    assert [(row.name.split(" trainer")[0], row.reference) for row in rows] == [
        ("plain, perf=plain", [2, 2]), ("plain, perf=auto", [2, 2]), ("plain, perf=fast", [4, 4]),
        ("gan, perf=plain", [2, 2]), ("gan, perf=auto", [2, 2]), ("gan, perf=fast", [4, 4]),
    ]  # fmt: skip
    assert all("bf16" in row.reference_name for row in rows if "perf=fast" in row.name)
    assert all(row.sr == [3, 3] for row in rows)
    assert ["model/net=plain" in words for words in runs] == [True] * 8 + [False] * 8  # of them two are not compiled
    assert all({"data.batch=4", "data.patch=32", "color=rgb"} <= set(words) for words in runs)
    monkeypatch.setattr(execution, "has_fast_bf16", lambda device: False)
    assert len(list(execution.compare_modes(config))) == 4
    config["data"]["_target_"] = "sr.data.folder.Folder"  # on which the runs would not train
    assert list(execution.compare_modes(config)) == []


@pytest.mark.long
def test_modes_are_measured(sr: Any, tmp_path: Path) -> None:
    small = ("nets=[espcn]", "rounds=1", "threads=1", "seconds=0.1", "data.patch=32", "data.batch=2")
    answer = sr("bench", "parts=[perf]", *small, "out=rows.json")
    assert answer.code == 0, answer.err
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["name"].split(",")[0] for row in rows} == {"espcn", "gan"}
    assert all(row["sr"] > 0 < row["reference"] for row in rows)


@pytest.mark.long
def test_commands_are_measured_against_scripts(sr: Any, tmp_path: Path) -> None:
    """Both sides of the evaluation must have the same PSNR."""
    answer = sr("bench", "parts=[commands]", "rounds=1", "threads=1", "files=20", "out=rows.json")
    assert answer.code == 0, answer.err
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["name"].split()[0] for row in rows] == ["a", "the", "inspecting", "inspecting", "evaluating"]


@pytest.mark.long
def test_onnxruntime_is_measured_in_turns(sr: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="sr[onnx] is not installed")
    answer = sr("bench", "parts=[onnx]", "nets=[espcn]", "rounds=2", "threads=1", "out=rows.json")
    assert answer.code == 0, answer.err
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["name"] for row in rows] == ["espcn, tile of 96×96", "espcn, image of 256×256"]
    assert all(row["sr"] > 0 < row["reference"] for row in rows)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("parts=[metrics]", 'Did you mean "metric"?'),
        ("parts=[gear]", "this part is now called backend"),
        ("parts=metric", "parts=[metric]"),
        ("parts=[]", "expected a list"),
        ("images=[1gp]", "images=1gp: expected one of 1mp, 12mp, small."),
        ("against=nowhere.json", "against=nowhere.json: expected the bench.json of an earlier benchmark"),
        ("threads=0", "threads=0: expected a whole number, 1 or more"),
        ("rounds=0", "rounds=0: expected a whole number, 1 or more"),
        ("out=.", "out=.: expected a file (found a folder); give out=bench.json"),
        ("out=rows.md", "out=rows.md: expected another suffix"),
        ("parts=[metric] out=rows.json against=rows.json", "against=rows.json: this file would be replaced"),
        ("out=nowhere/rows.json", "out=nowhere/rows.json: expected a file in a folder that exists"),
        ("parts=[metric,basicsr] basicsr=nowhere", "basicsr=nowhere: expected a Python"),
    ],
)
def test_bench_rejects(sr: Any, typed: str, message: str) -> None:
    answer = sr("bench", "parts=[metric]", typed) if not typed.startswith("parts") else sr("bench", *typed.split())
    assert answer.code == 2
    assert message in answer.err


def test_an_interruption_loses_no_row_that_was_measured(
    sr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sending, "compare_sending", fail)
    (tmp_path / "rows.json").write_text("[]")
    answer = sr("bench", "parts=[metric,sender]", "rounds=1", "threads=1", "out=rows.json")
    assert answer.code == 130
    assert "rows.json.part: what was measured until then (1 rows)" in answer.out
    assert len(json.loads((tmp_path / "rows.json.part").read_text())) == 1
    assert (tmp_path / "rows.json").read_text() == "[]"  # of an earlier benchmark


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


def test_commands_of_a_sweep_are_timed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "COMMAND", (sys.executable, "-c", RUN_STUB))
    time = sweep.run_commands([["seed=0"]])
    assert time.total > time.first_run > 0
    assert time.steps_per_second == 5.0
    with pytest.raises(UserError, match="a run of the benchmark failed: error: seed=1: boom"):
        sweep.run_commands([["seed=1"]])


@pytest.mark.long
def test_a_sweep_is_timed_by_its_command() -> None:
    time = sweep.run_commands([sweep._list_sweep_words(2, 2)])
    assert time.total > time.first_run > 0 < time.steps_per_second


# predict


@pytest.mark.long
def test_predictions_are_compared_with_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both scripts and `sr.predict` give the same images; rows of processor time and peak memory for each script."""
    pytest.importorskip("spandrel")
    checkpoint, options = tmp_path / "small.safetensors", {"scale": 2, "channels": 3, "width": 8, "depth": 2}
    net = {"_target_": "sr.net.srvgg.SRVGGNetCompact", **options}
    state = SRVGGNetCompact(**options).state_dict()
    write_weights(checkpoint, state, {"scale": 2, "color": "rgb", "model": {"net": net}})
    monkeypatch.setattr(prediction, "CASES", {"tiny": (2, 24, 40)})
    rows = prediction.compare_prediction({"images": ["tiny"], "checkpoint": str(checkpoint), "rounds": 1, "threads": 1})
    assert [row.unit for row in rows] == ["CPU s", "MB"] * 2
    assert len({row.reference_name for row in rows}) == 2
    assert all(min(row.sr[0], row.reference[0]) > 0.5 for row in rows)
    assert all(50 < row.sr[0] < 2000 for row in rows if row.unit == "MB")


def test_tiles_of_the_script_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A net that looks one pixel far gives the same result in tiles."""
    net = nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(3, 12, 3), nn.PixelShuffle(2))
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    with torch.inference_mode():
        whole = bare_upscaling.upscale_image(net, pixels, 2)
        for name, value in (("MAX_PIXELS", 100), ("TILE", 16), ("MARGIN", 4)):
            monkeypatch.setattr(bare_upscaling, name, value)
        assert np.array_equal(bare_upscaling.upscale_image(net, pixels, 2), whole)
    assert whole.shape == (74, 100, 3)


def test_results_that_differ_are_no_comparison(tmp_path: Path) -> None:
    for name, level in (("a", 100), ("b", 101)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (level, 100, 100)).save(tmp_path / name / "0.png")
    prediction.require_same_results(tmp_path / "a", tmp_path / "a")
    with pytest.raises(AssertionError, match=r"0\.png: the results differ by 0\.333 levels"):
        prediction.require_same_results(tmp_path / "a", tmp_path / "b")
