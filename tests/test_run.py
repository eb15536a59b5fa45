"""A complete run from the command line to MLflow: evaluated, saved and reported numbers are the same."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wait_for
from filelock import FileLock
from mlflow import MlflowClient

from sr.record.journal_format import JOURNAL_FILE

OPTIONS = ("data=folder", "data.patch=32", "data.batch=4", "trainer.accelerator=cpu", "trainer.max_steps=5")
GAN_OPTIONS = (
    "model=gan",
    "model.net.width=8",
    "model.net.blocks=1",
    "model.discriminator.width=4",
    "model.warmup_steps=2",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one folder for all tests of this file: creating a database takes seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, MLflow is imported for longer than a run waits for it: `run_id` would be missing."""
    monkeypatch.setattr("sr.track.mlflow.PAGE_TIMEOUT", 300.0)
    monkeypatch.setattr("sr.track.mlflow.FINISH_TIMEOUT", 300.0)


def start(sr: Any, world: Path, runs: Path, *words: str) -> tuple[Any, dict[str, Any], Any]:
    """Train, and return the answer, summary.json and MLflow's run, None with track=none."""
    known = set(runs.glob("*/summary.json"))
    answer = sr("run", *OPTIONS, f"data.path={world}/photos", f"paths.runs={runs}", *words)
    (path,) = set(runs.glob("*/summary.json")) - known
    summary = json.loads(path.read_text())
    return answer, summary, summary["run_id"] and client(runs).get_run(summary["run_id"])


def client(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs}/mlflow.db")


def artifacts(runs: Path, run_id: str, folder: str | None = None) -> set[str]:
    return {item.path for item in client(runs).list_artifacts(run_id, folder)}


@pytest.mark.slow(7)
def test_cnn_run_is_complete_in_mlflow(sr: Any, world: Path, runs: Path) -> None:
    words = ("trainer.val_check_interval=2", "track.group=first", "seed=3")
    answer, summary, run = start(sr, world, runs, *words)
    assert (answer.code, summary["status"], run.info.status) == (0, "FINISHED", "FINISHED")
    assert summary["steps"] == 5
    assert summary["steps_per_second"] > 0

    measured = {name for name in run.data.metrics if "psnr" in name or "ssim" in name}
    names = {f"{part}/folder x2 edsr/{kind}" for part in ("val", "test") for kind in ("psnr", "ssim")}
    best = {f"val/folder x2 edsr/{kind}_best" for kind in ("psnr", "ssim")}
    raw = {f"val/folder x2 edsr/{kind}_raw" for kind in ("psnr", "ssim")}  # of the weights that are not averaged
    assert measured == names | {f"{name}_bicubic" for name in names} | best | raw
    for name in names:
        plain = name.replace(" x2 edsr", "")
        assert run.data.metrics[f"{name}_best" if "val" in name else name] == summary["metrics"][plain]
        assert run.data.metrics[f"{name}_bicubic"] == summary["bicubic"][plain]
    history = client(runs).get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2, 3, 4, 5]
    validations = client(runs).get_metric_history(run.info.run_id, "val/folder x2 edsr/psnr")
    assert [point.step for point in validations] == [
        0,
        2,
        4,
        5,
    ]  # the untrained net, and the last step, are measured as well

    params = {
        "model.net": "plain",
        "model.loss": "l1",
        "seed": "3",
        "data.batch": "4",
        "trainer.val_check_interval": "2",
    }
    assert params.items() <= run.data.params.items()
    expected = {"sr.model": "cnn", "sr.net": "plain", "sr.data": "folder", "sr.scale": "2", "sr.seed": "3"}
    assert expected.items() <= run.data.tags.items()
    assert (run.data.tags["sr.group"], run.data.tags["sr.protocol"]) == ("first", "edsr")
    files = {"config.yaml", "overrides.yaml", "environment.yaml", "packages.txt", "per_image.json", "summary.json"}
    assert files <= artifacts(runs, run.info.run_id)

    assert "test/folder" in answer.out
    assert run.info.run_id in answer.out
    assert "sr.predict checkpoint=" in answer.out


def test_an_mlflow_that_answers_only_at_the_end_is_in_the_summary(
    sr: Any, world: Path, tmp_path: Path, sender_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sr.track.mlflow.PAGE_TIMEOUT", 0.1)
    runs = tmp_path / "late"
    runs.mkdir()
    lock = FileLock(runs / ".mlflow.lock", thread_local=False)  # for which `connect` waits
    lock.acquire()

    def release() -> None:
        wait_for(lambda: list(runs.glob("*/summary.json")))
        lock.release()

    thread = threading.Thread(target=release)
    thread.start()
    answer, summary, run = start(sr, world, runs)
    thread.join()
    identity = json.loads(next(runs.glob("*/run.json")).read_text())
    assert run.info.run_id == summary["run_id"] == identity["run_id"]
    assert f"run         {run.info.run_id}\n" in answer.out
    assert f"/#/experiments/{run.info.experiment_id}/" in answer.out.split("next:")[1]


def test_loaded_checkpoint_has_the_metrics_of_the_run(sr: Any, world: Path, runs: Path) -> None:
    """Evaluate the checkpoint on the test images without the framework: equal to the last digit."""
    from sr.checkpoint.load import load_checkpoint
    from sr.config.build import build_data, build_part
    from sr.inference.upscale import upscale

    for color in ("rgb", "y", "gray"):
        _, summary, _ = start(sr, world, runs, f"color={color}", "track=none")
        loaded = load_checkpoint(Path(summary["checkpoint"]))
        assert loaded.metrics["val/folder/psnr"] == summary["metrics"]["best/val/folder/psnr"]
        data, protocol = build_data(loaded.config), build_part(loaded.config["metric"], "metric")
        data.setup("test")
        values = []
        with torch.inference_mode():
            for batch in data.test_dataloader()[0]:
                pair = data.on_after_batch_transfer(batch, 0)
                values += protocol(upscale(loaded.net, pair.lr, color), pair.hr)["psnr"].tolist()
        assert sum(values) / len(values) == pytest.approx(summary["metrics"]["test/folder/psnr"], abs=1e-9)


@pytest.mark.usefixtures("sender_thread")
def test_gan_run_logs_all_signals(sr: Any, world: Path, runs: Path) -> None:
    answer, summary, run = start(sr, world, runs, *GAN_OPTIONS)
    assert answer.code == 0
    signals = ("loss_g", "loss_d", "loss_pixel", "loss_adversarial", "d_real", "d_fake", "grad_norm_g", "grad_norm_d")
    assert {f"train/{name}" for name in signals} <= set(run.data.metrics)
    assert 0 <= run.data.metrics["train/d_fake"] <= 1
    history = client(runs).get_metric_history(run.info.run_id, "train/loss_g")
    assert [point.step for point in history] == [1, 2, 3, 4, 5]
    assert summary["steps"] == 5


@pytest.mark.slow
def test_same_seed_same_numbers(sr: Any, world: Path, runs: Path) -> None:
    """Worker processes make no difference."""
    first, again, workers, other = (
        start(sr, world, runs, "track=none", *words)[1]["metrics"]["test/folder/psnr"]
        for words in (("seed=1",), ("seed=1",), ("seed=1", "data.workers=1"), ("seed=2",))
    )
    assert first == again == workers
    assert first != other


def test_bicubic_needs_no_training_and_equals_the_baseline(sr: Any, world: Path, runs: Path) -> None:
    answer, summary, _ = start(sr, world, runs, "model/net=bicubic", "track=none")
    assert "nothing to train" in answer.out
    assert summary["metrics"]["test/folder/psnr"] == summary["bicubic"]["test/folder/psnr"]
    assert summary["checkpoint"] is None


def test_named_sets_are_evaluated_with_another_training_set(sr: Any, world: Path, runs: Path) -> None:
    _, summary, _ = start(
        sr, world, runs, f"paths.data={world}", "data.val=[Set5]", "data.test=[Set5,folder]", "track=none"
    )
    assert {"val/Set5/psnr", "test/Set5/psnr", "test/folder/psnr"} <= set(summary["metrics"])


def test_refused_start_writes_nothing(sr: Any, world: Path, runs: Path) -> None:
    """Neither into an existing run nor into a new folder."""
    before = set(runs.glob("*"))
    words = (*OPTIONS, f"data.path={world}/photos", f"paths.runs={runs}")
    answer = sr("run", *words, "track.uri=htp://127.0.0.1:5000")
    assert (answer.code, "track.uri=htp://127.0.0.1:5000: expected" in answer.err) == (2, True)
    assert "failed:" not in answer.out
    assert set(runs.glob("*")) == before
    assert sr("run", *words, "track=journal").code == 0
    (folder,) = set(runs.glob("*")) - before
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    answer = sr("run", f"resume={folder}", "trainer.max_steps=9", "track=mlflow", "track.uri=htp://127.0.0.1:5000")
    assert answer.code == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == contents


@pytest.mark.parametrize("name", ["save_fingerprint", "save_text"])
def test_full_disk_at_the_start_or_end_is_an_error_message(
    name: str, sr: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sr.lifecycle import tracked_run

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "a file")

    monkeypatch.setattr(tracked_run, name, full)
    answer = sr("run", *OPTIONS, f"data.path={world}/photos", "track=journal")
    assert (answer.code, "error: a file: cannot be written (No space left on device)" in answer.err) == (2, True)
    assert "Traceback" not in answer.err
    (path,) = (tmp_path / "runs").glob("*/run.json")
    known = json.loads(path.read_text())
    assert (known["status"], known["exit"]) == ("FAILED", "disk")


@pytest.mark.usefixtures("sender_thread")
def test_exploding_loss_fails_with_advice(sr: Any, world: Path, runs: Path) -> None:
    words = ("model.optimizer.lr=1e30", "model/schedule=constant", "trainer.max_steps=40")
    answer, summary, run = start(sr, world, runs, *words)
    assert (answer.code, summary["status"], run.info.status) == (2, "FAILED", "FAILED")
    assert answer.err.count("back to the weights of step 0, learning rates times 0.5") == 3
    assert "model.optimizer.lr" in answer.err
    batch = torch.load(next(runs.rglob("offending_step_*.pt")), weights_only=True)
    assert batch["hr"].shape == (4, 3, 32, 32)
    assert batch["lr"].shape == (4, 3, 16, 16)


@pytest.mark.slow
def test_max_epochs_limits_as_well_and_the_result_is_saved(sr: Any, world: Path, runs: Path) -> None:
    """Three images, 16 patches of each, in batches of four: 12 steps an epoch, less than `max_steps`."""
    _, summary, _ = start(sr, world, runs, "trainer.max_steps=2000", "trainer.max_epochs=1", "track=none")
    assert summary["steps"] == summary["metrics"]["best/step"] == 12
    _, summary, _ = start(sr, world, runs, "data.val=[]", "track=none")
    assert summary["checkpoint"].endswith("last.ckpt")


def test_table_has_the_metrics_of_the_best_step(sr: Any, world: Path, runs: Path) -> None:
    """The best checkpoint is tested, and its validation is in the same table."""
    words = (
        "trainer.val_check_interval=1",
        "trainer.max_steps=8",
        "model.optimizer.lr=0.05",
        "model/schedule=constant",
    )
    metrics = start(sr, world, runs, "track=none", *words)[1]["metrics"]
    assert metrics["val/folder/psnr"] == metrics["best/val/folder/psnr"]
    assert metrics["val/folder/psnr"] == metrics["test/folder/psnr"]  # both sets have the same images here


@pytest.mark.slow
def test_mixed_precision_does_not_change_the_baseline(sr: Any, world: Path, runs: Path) -> None:
    full, mixed = (
        start(sr, world, runs, "track=none", *words)[1]["bicubic"] for words in ((), ("trainer.precision=bf16-mixed",))
    )
    assert full == mixed


@pytest.mark.slow
@pytest.mark.usefixtures("sender_thread")
def test_multirun_makes_a_run_for_each_seed(sr: Any, world: Path, runs: Path) -> None:
    before = len(list(runs.glob("*/summary.json")))
    answer = sr("run", "-m", "seed=4,5", *OPTIONS, f"data.path={world}/photos", f"paths.runs={runs}", "stages=[fit]")
    assert answer.code == 0
    assert len(list(runs.glob("*/summary.json"))) == before + 2


@pytest.mark.long
def test_ctrl_c_saves_a_checkpoint_and_ends_as_killed(world: Path, runs: Path, tmp_path: Path) -> None:
    words = (
        *OPTIONS[:-1],
        "trainer.max_steps=100000",
        f"data.path={world}/photos",
        f"paths.runs={runs}",
        "track.experiment=stop",
    )
    log, known = tmp_path / "log", {*runs.glob(f"*/{JOURNAL_FILE}")}
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "sr.run", *words], stdout=out, stderr=out, cwd=tmp_path)
    wait_for(lambda: any(b"train/loss" in path.read_bytes() for path in {*runs.glob(f"*/{JOURNAL_FILE}")} - known))
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(200) == 130, log.read_text()
    experiment = client(runs).get_experiment_by_name("stop").experiment_id
    (run,) = client(runs).search_runs([experiment])
    assert run.info.status == "KILLED"
    assert run.data.metrics["train/loss"] > 0
    assert "Traceback" not in log.read_text()
    (folder,) = re.findall(r" resume=(\S+)", log.read_text())  # what to type next
    assert (tmp_path / folder / "last.ckpt").is_file()


@pytest.mark.slow
def test_run_beats_bicubic_on_photographs(sr: Any, runs: Path) -> None:
    """The default net on the default photographs: it needs two minutes for 1.5 dB, seconds for the first 0.5 dB."""
    words = (
        "trainer.max_steps=100",
        "model.schedule.warmup=10",
        "model.optimizer.lr=2e-3",
        "seed=2",
        f"paths.runs={runs}",
        "track=none",
    )
    answer = sr("run", *words)
    assert answer.code == 0
    path = max(runs.glob("*-s2-*/summary.json"))
    summary = json.loads(path.read_text())
    assert summary["metrics"]["test/sample/psnr"] > summary["bicubic"]["test/sample/psnr"] + 0.5
