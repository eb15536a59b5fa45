"""`sr.bench parts=[basicsr]`: trainings by a package that pretends to be BasicSR, with simulated times."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sr.benchmark import basicsr
from sr.benchmark.basicsr_options import find_common_nets
from sr.benchmark.process import Cost, measure_process
from sr.runtime.error import UserError

FAKE_BASICSR = """
import json, pathlib, sys
options = json.loads(pathlib.Path(sys.argv[2]).read_text())
if options["datasets"]["train"]["num_worker_per_gpu"] == FAILING:
    sys.exit("Traceback (most recent call last):\\nRuntimeError: boom")
folder = pathlib.Path(options["path"]["experiments_root"], options["name"])
folder.mkdir()
(folder / "train_edsr_1.log").write_text("Network: EDSR, with parameters: PARAMETERS")
"""
EDSR_PARAMETERS = "1,369,859"  # at x2, as BasicSR prints it
SECONDS = {
    "track=none": (4, 1),
    "track=mlflow": (5, 1),
    "perf=plain": (4, 0.5),
    "perf=fast": (6, 0.25),
}  # start, a step
BASICSR_SECONDS = {0: (3, 1.0), 6: (9, 0.5)}  # of its workers
BASICSR_CONFIG = {
    "basicsr": sys.executable, "nets": ["espcn", "edsr"], "scale": 2, "channels": 3, "color": "rgb", "rounds": 1,
    "threads": 1, "steps": 150, "seconds": 20.0, "data": {"batch": 16, "patch": 96},
}  # fmt: skip


@pytest.fixture
def fake_basicsr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """A function that writes a package `basicsr` whose net has so many parameters, and that fails with so many workers.

    Processor time is simulated, twice the wall time. The function returns a list, which is filled with our words and with the
    options of BasicSR's trainings.
    """
    (tmp_path / "torch.py").write_text("__version__ = '2.0'")
    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr/__init__.py").write_text("__version__ = '1.4.2'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(basicsr, "IMAGES", 1)
    monkeypatch.setattr(basicsr, "SIDE", 96)
    monkeypatch.setattr(basicsr, "create_loop", lambda *_: None)
    monkeypatch.setattr(basicsr, "measure_seconds", lambda _, steps: 0.5 * steps)
    trainings: list[Any] = []

    def measure(part: str, words: list[str], threads: int, folder: Path, python: str | None = None) -> Cost:
        if python is None:
            (word,) = [word for word in words if word in SECONDS][-1:]
            start, step = SECONDS[word]
            steps = int(next(word for word in words if "max_steps" in word).partition("=")[2])
            trainings.append(words)
        else:
            assert min(measure_process(part, words, threads, folder=folder, python=python)) > 0
            options = json.loads(Path(words[-1]).read_text())
            start, step = BASICSR_SECONDS[options["datasets"]["train"]["num_worker_per_gpu"]]
            steps = options["train"]["total_iter"]
            trainings.append(options)
        return Cost(start + step * steps, 100.0, (start + step * steps) / 2)

    monkeypatch.setattr(basicsr, "measure_process", measure)

    def write(parameters: str = EDSR_PARAMETERS, failing: int = -1) -> list[Any]:
        code = FAKE_BASICSR.replace("PARAMETERS", parameters).replace("FAILING", str(failing))
        (tmp_path / "basicsr/train.py").write_text(code)
        return trainings

    return write


def test_trainings_are_compared_with_basicsr(fake_basicsr: Any, sr: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Whole processes of one step; steps per second without the start; both sides train on the same batches."""
    trainings = fake_basicsr()
    rows = list(basicsr.compare_basicsr(BASICSR_CONFIG))
    assert "parts=[basicsr]: without espcn, which BasicSR does not have" in capfd.readouterr().err
    found = {(row.name, row.unit, row.reference_name): (*row.sr, *row.reference) for row in rows}
    expected = {}
    for workers, (start, step) in BASICSR_SECONDS.items():
        reference = f"BasicSR 1.4.2 with torch 2.0, {workers} workers"
        for word, (our_start, our_step) in SECONDS.items():
            pairs = {"CPU s": (our_start + our_step, start + step)} | {
                "s": ((our_start + our_step) / 2, (start + step) / 2)
            }
            name = f"a run of one step, edsr, {word}"
            if word.startswith("perf"):
                pairs = {"steps/CPU s": (1 / our_step, 1 / step), "steps/s": (2 / our_step, 2 / step)}
                name = f"training, edsr, {word}"
            expected |= {(name, unit, reference): pytest.approx(pair) for unit, pair in pairs.items()}
    assert found == expected
    ours, theirs = ([x for x in trainings if isinstance(x, kind)] for kind in (list, dict))
    assert {"model/net=edsr", "data.patch=96", "data.batch=16", "trainer.max_steps=43", "perf=fast"} <= set(
        ours[-1]
    )  # 3 + 20 s
    data = theirs[-1]["datasets"]["train"]
    assert (data["gt_size"], data["batch_size_per_gpu"], theirs[-1]["train"]["total_iter"]) == (96, 16, 43)
    assert {f"data.hr={data['dataroot_gt']}", f"data.lr={data['dataroot_lq']}"} <= set(ours[-1])
    answer = sr("run", *ours[-1][1:], "--cfg", "job")  # its options exist
    assert answer.code == 0, answer.err


def test_a_basicsr_that_fails_is_named_with_its_last_lines(fake_basicsr: Any) -> None:
    fake_basicsr(failing=6)
    with pytest.raises(UserError, match=r"(?s)parts=\[basicsr\]: basicsr.train has failed: .*RuntimeError: boom$"):
        list(basicsr.compare_basicsr(BASICSR_CONFIG))


def test_both_sides_have_the_same_nets() -> None:
    """The numbers of parameters are those that BasicSR 1.4.2 prints for these options."""
    nets = find_common_nets(BASICSR_CONFIG | {"nets": ["edsr", "rcan", "rrdb", "srvgg"]})
    assert [net.parameters for net in nets] == [1_369_859, 15_444_643, 16_703_171, 600_652]
    common = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64}
    assert [net.options for net in nets] == [
        common | {"type": "EDSR", "upscale": 2, "num_block": 16, "res_scale": 1.0},
        common | {"type": "RCAN", "upscale": 2, "num_group": 10, "num_block": 20, "squeeze_factor": 16},
        common | {"type": "RRDBNet", "scale": 2, "num_block": 23, "num_grow_ch": 32},
        common | {"type": "SRVGGNetCompact", "upscale": 2, "num_conv": 16},
    ]


@pytest.mark.parametrize(("parameters", "found"), [("1,369,860", "1,369,860"), ("", "none")])
def test_nets_of_different_sizes_are_no_comparison(fake_basicsr: Any, parameters: str, found: str) -> None:
    fake_basicsr(parameters=parameters)
    with pytest.raises(UserError, match=rf"1,369,859 parameters, those of edsr in sr \(found {found}\)"):
        list(basicsr.compare_basicsr(BASICSR_CONFIG))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"basicsr": "nowhere/python"}, r"basicsr=nowhere/python: expected a Python \(found no such program\)"),
        (
            {"basicsr": sys.executable},
            r"expected a Python that can import BasicSR \(found .*No module named 'basicsr'\)",
        ),
        (
            {"nets": ["espcn", "plain"]},
            r"nets=\[espcn,plain\]: expected one that BasicSR has as well; give nets=\[edsr\]",
        ),
        ({"color": "y"}, r"color=y: parts=\[basicsr\] trains on RGB images; give color=rgb"),
    ],
)
def test_basicsr_cannot_be_compared(words: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(UserError, match=message):
        list(basicsr.compare_basicsr(BASICSR_CONFIG | words))


def test_other_parts_are_measured_without_basicsr(sr: Any, tmp_path: Path) -> None:
    answer = sr("bench", "parts=[basicsr,metric]", "rounds=1", "threads=1", "out=rows.json")
    assert answer.code == 0
    lines = [line for line in answer.err.splitlines() if "basicsr" in line]
    assert lines == ["parts=[basicsr]: skipped; give basicsr=PYTHON, the Python of an environment that can import BasicSR "
                     "(docs/speed.md)"]  # fmt: skip
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 1


def test_a_benchmark_without_rows_writes_none(sr: Any, tmp_path: Path) -> None:
    answer = sr("bench", "parts=[basicsr]", "out=rows.json")
    assert (answer.code, (tmp_path / "rows.json").exists()) == (2, False)
    assert "error: parts=[basicsr]: nothing was measured, rows.json is not written" in answer.err


def test_a_longer_training_that_takes_no_longer_has_no_rate() -> None:
    with pytest.raises(UserError, match=r"to take longer \(3 and 13 steps took 5\.0 CPU s, 4\.0 s and 5\.0"):
        basicsr.measure_steps(lambda steps: Cost(5.0, 100.0, 4.0), 10)
