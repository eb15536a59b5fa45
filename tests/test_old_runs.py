"""Runs of an older version (864d6b4) still load, resume, evaluate and open from MLflow, with the numbers that it reached.

The archive holds two trainings of 20 steps, `cnn` and `gan`, an evaluation of the first, and their MLflow database. The
old code resumed both up to step 30; the numbers that it wrote then stand below.
"""

import json
import sqlite3
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sr.record.result import read_set_results

pytestmark = pytest.mark.usefixtures("sender_thread")
ARCHIVE = Path(__file__).parent / "fixture" / "runs_864d6b4.tar.xz"
OLD_PLACES = ("/tmp/fx/runs", "/tmp/fx/resumed")  # where the runs lay when the archive was made
TOLERANCE = 1e-6
CNN_RUN_ID = "83157910d02249eda68fa16aa8a461be"
CNN_AT_30 = {
    "val/sample/psnr": 30.006476318101143,
    "val/sample/ssim": 0.8637989117998721,
    "test/sample/psnr": 32.36415935135049,
    "test/sample/ssim": 0.9255191425504207,
    "best/val/sample/psnr": 30.006476318101143,
    "best/val/sample/ssim": 0.8637989117998721,
    "best/step": 30,
}
GAN_AT_30 = {
    "val/sample/psnr": 29.999548224466146,
    "val/sample/ssim": 0.8636266359620738,
    "val/sample/spectrum": 10.46061653985156,
    "test/sample/psnr": 32.357586370729884,
    "test/sample/ssim": 0.9254156619501387,
    "test/sample/spectrum": 7.314220985528564,
    "best/val/sample/psnr": 29.999548224466146,
    "best/val/sample/ssim": 0.8636266359620738,
    "best/val/sample/spectrum": 10.46061653985156,
    "best/step": 30,
    "best_ssim/val/sample/psnr": 29.999548224466146,
    "best_ssim/val/sample/ssim": 0.8636266359620738,
    "best_ssim/val/sample/spectrum": 10.46061653985156,
    "best_ssim/step": 30,
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Unpack the old runs where `sr` looks for runs; paths in their files and database become the ones there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "runs"
    for path in [*folder.rglob("*.json"), *folder.rglob("*.yaml")]:
        path.write_text(_replace_places(path.read_text(encoding="utf-8"), folder), encoding="utf-8")
    columns = {"runs": "artifact_uri", "params": "value", "tags": "value", "experiments": "artifact_location"}
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table, column in columns.items():
            for old in OLD_PLACES:
                statement = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                database.execute(statement, (old, str(folder)))
    database.close()
    return folder


def _replace_places(text: str, folder: Path) -> str:
    for old in OLD_PLACES:
        text = text.replace(old, str(folder))
    return text


def _read_summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn/best", "cnn/last", "cnn/previous", "gan/best", "gan/best_ssim", "gan/last"])
def test_old_checkpoint_loads(name: str, runs: Path) -> None:
    import torch

    from sr.checkpoint.load import load_checkpoint

    loaded = load_checkpoint(runs / f"{name}.ckpt")
    assert loaded.net(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)
    assert loaded.config["data"]["patch"] == 32
    assert loaded.step == (10 if name in ("cnn/previous", "gan/best_ssim") else 20)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("cnn", CNN_AT_30), ("gan", GAN_AT_30)])
def test_old_run_resumes_to_the_numbers_of_the_old_code(
    name: str, expected: dict[str, float], sr: Any, runs: Path, recwarn: pytest.WarningsRecorder
) -> None:
    answer = sr("run", f"resume={runs / name}", "trainer.max_steps=30")
    assert answer.code == 0, answer.err
    summary = _read_summary(runs / name)
    assert (summary["status"], summary["steps"]) == ("FINISHED", 30)
    assert summary["metrics"] == pytest.approx(expected, abs=TOLERANCE)
    assert list(summary["metrics"]) == list(expected)
    lost = [str(warning.message) for warning in recwarn if "callbacks used to create" in str(warning.message)]
    assert not lost  # each callback has found its state under the name that it had then


@pytest.mark.slow
def test_old_run_continues_in_its_mlflow_run(sr: Any, runs: Path) -> None:
    from mlflow.tracking import MlflowClient

    assert sr("run", f"resume={runs / 'cnn'}", "trainer.max_steps=30").code == 0
    run = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}").get_run(CNN_RUN_ID)
    assert (run.info.status, run.data.metrics["train/step_best"]) == ("FINISHED", 30)
    assert run.data.metrics["val/sample x2 edsr/psnr"] == pytest.approx(CNN_AT_30["val/sample/psnr"], abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["{runs}/cnn/best.ckpt", f"mlflow:{CNN_RUN_ID}"])
def test_old_checkpoint_evaluates_to_the_old_numbers(checkpoint: str, sr: Any, runs: Path) -> None:
    (old,) = runs.glob("*evaluate*")
    expected = asdict(read_set_results(old / "evaluate.json")["sample"])
    also = "metric/also=[ms_ssim,lr_psnr,color_shift,spectrum]"  # the default then
    answer = sr("evaluate", f"checkpoint={checkpoint.format(runs=runs)}", "data=sample", "track.panels=0", also)
    assert answer.code == 0, answer.err
    (new,) = (path for path in runs.glob("*evaluate*") if path != old)
    result = asdict(read_set_results(new / "evaluate.json")["sample"])
    timings = ("ms_per_image", "peak_memory_mb", "metrics_ms")
    assert {key: result[key] for key in expected if key not in timings} == {
        key: pytest.approx(value, abs=TOLERANCE) if isinstance(value, float) else _approximate(value)
        for key, value in expected.items()
        if key not in timings
    }


def _approximate(node: Any) -> Any:
    """Return the tree with every float replaced by one that equals what is close to it."""
    if isinstance(node, dict):
        return {key: _approximate(value) for key, value in node.items()}
    return pytest.approx(node, abs=TOLERANCE, nan_ok=True) if isinstance(node, float) else node
