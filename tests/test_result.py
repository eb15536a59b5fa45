"""The result files of a run: summary.json, evaluate.json and per_image.json, those of earlier versions too."""

import ast
import json
import math
import os
import tarfile
from pathlib import Path

import pytest

from sr.record.result import (
    EVALUATION_FILE,
    PER_IMAGE_FILE,
    SUMMARY_FILE,
    EvaluationResult,
    ImageResults,
    SetResult,
    TrainingResult,
    image_results_to_json,
    read_image_results,
    read_run_result,
    read_set_results,
    set_results_to_json,
)
from sr.runtime.error import UserError

FIXTURE = Path(__file__).parent / "fixture" / "runs_864d6b4.tar.xz"


@pytest.fixture(scope="module")
def old_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of commit 864d6b4, whose result files have no schema version."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs"


@pytest.mark.parametrize("result", [
    TrainingResult(run_id="abc", status="FINISHED", steps=3, metrics={"test/x/psnr": math.inf}, checkpoint="/a/best.ckpt"),
    TrainingResult(status="KILLED", rollbacks=1, skipped_steps=2, alarms={"d_wins": ["step 4: …"]}, energy_wh={"cpu": 0.1}),
    EvaluationResult(status="FINISHED", net="IMDN+", protocol={"Set5": {"protocol": "edsr"}}, scale=2, alpha=0.5),
])  # fmt: skip
def test_a_summary_is_read_as_it_was_written(tmp_path: Path, result: TrainingResult | EvaluationResult) -> None:
    (tmp_path / SUMMARY_FILE).write_text(result.to_json())
    assert read_run_result(tmp_path) == result


def test_sets_are_read_as_they_were_written(tmp_path: Path) -> None:
    file, images = tmp_path / "evaluate.json", {"baby": {"psnr": 30.0, "bicubic_psnr": 28.0}}
    sets = {
        "Set5": SetResult(count=1, metrics={"psnr": math.inf}, bicubic={"psnr": 28.0}, per_image=images, leaks=["x"]),
        "Set14": SetResult(count=1, per_image=images, is_unfinished=True),
    }
    file.write_text(set_results_to_json(sets))
    assert read_set_results(file) == sets
    assert json.loads(file.read_text())["sets"]["Set14"].keys() == {
        "count", "metrics", "bicubic", "per_image", "protocol", "is_unfinished",
    }  # fmt: skip


def test_tested_images_are_read_as_they_were_written(tmp_path: Path) -> None:
    file, sets = (
        tmp_path / "per_image.json",
        {"test/Set5": ImageResults(protocol="edsr", images={"baby": {"psnr": 30.0}})},
    )
    file.write_text(image_results_to_json(sets))
    assert read_image_results(file) == sets


def test_summaries_of_earlier_versions_are_read(old_runs: Path) -> None:
    training, evaluation = read_run_result(old_runs / "gan"), read_run_result(next(old_runs.glob("*evaluate*")))
    assert isinstance(training, TrainingResult)
    assert (training.status, training.steps, training.rollbacks) == ("FINISHED", 20, 0)
    assert training.metrics["best/step"] == 20
    assert isinstance(evaluation, EvaluationResult)
    assert (evaluation.net, evaluation.parameters) == ("Plain", 1100)


def test_evaluations_of_earlier_versions_are_read(old_runs: Path) -> None:
    file = next(old_runs.glob("*evaluate*/evaluate.json"))
    old = json.loads(file.read_text())["sample"]
    result = read_set_results(file)["sample"]
    assert (result.count, result.bicubic, result.per_image) == (3, old["bicubic"], old["per_image"])
    assert result.metrics == {key: old[key] for key in old["bicubic"]}
    assert (result.protocol, result.ms_per_image) == (old["protocol"], old["ms_per_image"])
    images = read_image_results(old_runs / "gan" / "per_image.json")["test/sample"]
    assert (images.protocol, len(images.images)) == ("edsr", 3)


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_run_result(tmp_path) is None
    assert read_set_results(tmp_path / "evaluate.json") is None
    assert read_image_results(tmp_path / "per_image.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"status": 3}', '{"metrics": 1}', '{"metrics": {"a": "b"}}',
                                  '{"schema_version": 99, "status": "FINISHED"}'])  # fmt: skip
def test_a_damaged_or_later_summary_is_an_error_or_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(UserError, match=r"summary\.json: expected the summary\.json of a run of sr"):
        read_run_result(tmp_path)
    assert read_run_result(tmp_path, skip_damaged=True) is None


@pytest.mark.parametrize("text", ['{"Set5": 1}', '{"Set5": {"psnr": 1}}', '{"schema_version": 1}',
                                  '{"schema_version": 1, "sets": {"Set5": {"per_image": {}}}}'])  # fmt: skip
def test_a_damaged_evaluation_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "evaluate.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"evaluate\.json"):
        read_set_results(file)


def test_no_other_module_names_the_result_files() -> None:
    root = Path(__file__).resolve().parents[1]
    names = {SUMMARY_FILE, EVALUATION_FILE, PER_IMAGE_FILE}
    users = {
        path.relative_to(root).as_posix()
        for path in (root / "sr").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert users == {"sr/record/result.py"}


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "per_image.json")
    with pytest.raises(UserError, match=r"a FIFO \(named pipe\)"):
        read_image_results(tmp_path / "per_image.json")
