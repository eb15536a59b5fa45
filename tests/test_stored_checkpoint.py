"""`track.checkpoints`: a run's checkpoint among its artifacts, for machines that do not have the run's folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_image
from mlflow import MlflowClient


def train(sr: Callable, world: Path, *words: str) -> tuple[Path, str]:
    """Train two steps, and return the run's folder and its ID in MLflow."""
    data = ("data=folder", f"data.path={world}/photos", "data.patch=32", "data.batch=4")
    answer = sr("run", *data, f"paths.data={world}", "trainer.max_steps=2", "stages=[fit]", *words)
    assert answer.code == 0, answer.err
    (summary,) = Path("runs").glob("*/summary.json")
    return summary.parent, json.loads(summary.read_text())["run_id"]


@pytest.mark.slow(9)
def test_a_run_is_used_from_mlflow_alone(sr: Callable, world: Path) -> None:
    """By predict, evaluate and export, after the run's folder was deleted."""
    folder, run_id = train(sr, world)
    write_image(Path("photo.png"), 24, 28)
    assert sr("predict", f"checkpoint={folder}/best.ckpt", "input=photo.png", "output=before.png").code == 0
    shutil.rmtree(folder)
    word = f"checkpoint=mlflow:{run_id}"
    for command in (
        ("predict", word, "input=photo.png", "output=after.png"),
        ("evaluate", word, "data.test=[Set5]", f"paths.data={world}", "metric/also=[]"),
        ("export", word, "exporter=safetensors", "output=exported"),
    ):
        answer = sr(*command)
        assert answer.code == 0, answer.err
    assert Path("after.png").read_bytes() == Path("before.png").read_bytes()
    assert Path("exported", f"mlflow_{run_id}.safetensors").exists()


@pytest.mark.slow(5)
@pytest.mark.parametrize(("option", "stored"), [("all", ["best.ckpt", "last.ckpt"]), ("none", [])])
def test_which_checkpoints_are_stored(sr: Callable, world: Path, option: str, stored: list[str]) -> None:
    folder, run_id = train(sr, world, f"track.checkpoints={option}")
    files = MlflowClient(f"sqlite:///{Path.cwd()}/runs/mlflow.db").list_artifacts(run_id, "checkpoints")
    assert sorted(Path(file.path).name for file in files) == stored
    if option == "none":
        shutil.rmtree(folder)
        answer = sr("predict", f"checkpoint=mlflow:{run_id}", "input=x.png")
        assert answer.code == 2
        assert f"checkpoint=mlflow:{run_id}: its checkpoint is neither on this machine" in answer.err
        assert "track.checkpoints=best" in answer.err
