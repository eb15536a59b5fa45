"""track=mlflow: nothing is cut, changed or lost, and training neither waits for MLflow nor fails because of it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from sr.image.batch import EvaluationOutput
from sr.metric.panel import draw_panel
from sr.metric.protocol import Protocol
from sr.record.hyperparameters import select_hyperparameters
from sr.record.journal_format import JOURNAL_FILE, append_entries, list_points
from sr.track.mlflow import MLflow
from sr.track.mlflow_format import name_image_files
from sr.track.sync import sync_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def track(runs: Path, tmp_path: Path, sender_thread: None) -> MLflow:
    return start_tracker(runs, tmp_path)


def start_tracker(runs: Path, tmp_path: Path) -> MLflow:
    tracker = MLflow(None, str(runs), "test")
    params = select_hyperparameters({"long": "x" * 7000, "list": ["a", "b"], "deep": {"er": {"est": 1}}}, {}, (), "all")
    tracker.start("a run", tmp_path, params, [], {"sr.scale": "2"})
    tracker.wait_for_page()
    return tracker


def get_run(track: MLflow) -> Any:
    return MlflowClient(track.uri).get_run(track.run_id)


def test_parameters_are_flat_and_never_cut(track: MLflow) -> None:
    track.close("FINISHED")
    params = get_run(track).data.params
    assert (params["list"], params["deep.er.est"]) == ("['a', 'b']", "1")
    assert params["long"] == "7000 characters, see config.yaml"


def test_every_point_is_stored_many_and_tensors_too(track: MLflow) -> None:
    for step in range(1, 2501):
        track.log_points({"train/loss": torch.tensor(1.0 / step)}, step)
    track.close("FINISHED")
    history = MlflowClient(track.uri).get_metric_history(track.run_id, "train/loss")
    assert [point.step for point in history] == list(range(1, 2501))
    assert history[-1].value == pytest.approx(1 / 2500)


def test_values_that_are_not_finite_become_a_tag(track: MLflow) -> None:
    track.log_points({"train/loss": float("nan"), "val/x/psnr": float("inf")}, 7)
    track.mark_saved(7)
    track.close("FAILED")
    run = get_run(track)
    assert run.info.status == "FAILED"
    assert run.data.tags["nonfinite.train/loss"] == "nan at step 7"
    assert run.data.tags["nonfinite.val/x/psnr"] == "inf at step 7"


def test_keys_that_mlflow_refuses_are_changed(track: MLflow) -> None:
    track.log_points({"layers[0]/norm": 1.0}, 1)
    track.close("FINISHED")
    assert get_run(track).data.metrics == {"layers_0_/norm": 1.0}


def test_metrics_of_the_best_step_stand_with_those_of_their_set(track: MLflow) -> None:
    """MLflow's page sorts sections of charts by name, and would begin with `best/…`. The journal has our names."""
    track.log_points({"best/val/Set5 x2 edsr/psnr": 30.0, "best/step": 4, "val/Set5 x2 edsr/psnr": 29.0}, 6)
    track.close("FINISHED")
    metrics = get_run(track).data.metrics
    assert metrics == {"val/Set5 x2 edsr/psnr_best": 30.0, "train/step_best": 4.0, "val/Set5 x2 edsr/psnr": 29.0}
    assert ("best/step", 6, 4.0) in list(list_points(track._folder))


def test_images_have_readable_names_and_distinct_ones(track: MLflow) -> None:
    """Also those with names that MLflow or a file system refuses, or would confuse with another one."""
    names = ["baby", "слон", "тигр", "a/b", "x" * 255, "x" * 254 + "y", "..", "[1]?", "%41"]
    for k, name in enumerate(names):
        track.log_image(f"val/Set5 x2 edsr/{name}", Image.new("RGB", (8, 8), (k, k, k)), 300)
    track.close("FINISHED")
    files = sorted(track._folder.rglob("panels/**/*.png"))
    assert len({Image.open(file).getpixel((0, 0)) for file in files}) == len(names)
    assert track._folder / "panels/val/Set5 x2 edsr/baby step 300.png" in files
    assert track._folder / "panels/val/Set5 x2 edsr/слон step 300.png" in files
    client = MlflowClient(track.uri)
    sent = [Path(info.path).name for info in client.list_artifacts(track.run_id, "images")]
    assert len({name.partition("+")[0] for name in sent}) == len(names)
    assert len(sent) == 2 * len(names)
    assert max(map(len, sent)) <= 255


def test_images_of_a_test_are_where_the_slider_of_the_grid_begins() -> None:
    """Runs of other lengths would show an empty box there."""
    assert name_image_files("test/Set5 x2 edsr/baby", 1200, 0)[0].startswith("test~Set5 x2 edsr~baby+step+0+timestamp")
    assert name_image_files("val/Set5 x2 edsr/baby", 1200, 0)[0].startswith("val~Set5 x2 edsr~baby+step+1200+")
    assert name_image_files("val/x", 1, 2) == name_image_files("val/x", 1, 2)  # sent again, it is the same artifact


def test_the_image_grid_shows_the_exact_pixels(track: MLflow, tmp_path: Path) -> None:
    """Both files of MLflow's image grid, named as its own `log_image` names them, hold the same pixels."""
    noise = Image.effect_noise((300, 200), 100).convert("RGB")
    track.log_image("val/Set5/baby", noise, 3)
    track.close("FINISHED")
    client = MlflowClient(track.uri)
    client.log_image(track.run_id, noise, key="val/Set5/baby", step=3, synchronous=True)
    files = [
        Path(client.download_artifacts(track.run_id, i.path, str(tmp_path)))
        for i in client.list_artifacts(track.run_id, "images")
    ]

    def pattern(path: Path) -> str:
        return re.sub(r"\d{13}\+[0-9a-f-]{36}", "WHEN+WHICH", path.name)

    names = sorted(pattern(path) for path in files)
    assert (
        names
        == ["val~Set5~baby+step+3+timestamp+WHEN+WHICH+compressed.webp"] * 2
        + ["val~Set5~baby+step+3+timestamp+WHEN+WHICH.png"] * 2
    )
    ours = [path for path in files if Image.open(path).size == noise.size]
    assert sorted(path.suffix for path in ours) == [".png", ".png", ".webp"]  # MLflow's own WebP is shrunk
    assert all(Image.open(path).convert("RGB").tobytes() == noise.tobytes() for path in ours)
    assert get_run(track).data.tags["mlflow.loggedImages"].lower() == "true"


@pytest.mark.slow
def test_a_run_continues_without_the_sending_process(runs: Path, tmp_path: Path, capfd: Any) -> None:
    track = start_tracker(runs, tmp_path)
    track._sender.kill()
    track._listener.join()
    track.log_points({"train/loss": 1.0}, 1)
    track.close("FINISHED")
    said = capfd.readouterr().err
    assert "the process that sends to MLflow has ended (exit code -9): the run goes on" in said
    assert re.search(rf"\n1 points and images wait for MLflow: \S*python -m sr\.sync {tmp_path}\n", said)
    assert get_run(track).info.status == "RUNNING"
    assert sync_runs([str(tmp_path)], str(track.runs))
    assert (get_run(track).info.status, get_run(track).data.metrics) == ("FINISHED", {"train/loss": 1.0})


def test_a_checkpoint_that_the_journal_does_not_mention_yet_covers_its_steps(track: MLflow, runs: Path) -> None:
    """Killed between the two: points that wait to be sent belong to steps that are not repeated."""
    for step in range(1, 6):
        track.log_points({"train/loss": 1 / step}, step)
    track.mark_saved(3)
    track.close("KILLED", "interrupted")
    history = MlflowClient(track.uri).get_metric_history(track.run_id, "train/loss")
    assert [p.step for p in history] == [1, 2, 3]
    again = MLflow(None, str(runs), "test")
    again.start("a run", track._folder, {}, [], {"sr.verb": "run"})
    again.rewind(5)
    again.mark_saved(5)
    again.log_points({"train/loss": 1 / 6}, 6)
    again.close("FINISHED")
    assert again.run_id == track.run_id
    history = MlflowClient(track.uri).get_metric_history(track.run_id, "train/loss")
    assert [p.step for p in history] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_journal_of_a_run_deleted_in_mlflow_can_be_sent_later(track: MLflow, capfd: Any) -> None:
    client = MlflowClient(track.uri)
    client.delete_run(track.run_id)
    track.log_points({"train/loss": 1.0}, 1)
    track.close("FINISHED")
    assert "was deleted there" in capfd.readouterr().err
    client.restore_run(track.run_id)
    assert sync_runs([str(track._folder)], str(track.runs))
    assert [p.value for p in client.get_metric_history(track.run_id, "train/loss")] == [1.0]
    assert get_run(track).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "link.txt"])
def test_a_foreign_journal_sends_no_file_from_outside_its_folder(
    track: MLflow, tmp_path: Path, name: str, capfd: Any
) -> None:
    (tmp_path.parent / "secret.txt").write_text("mine")
    (tmp_path / "link.txt").symlink_to(tmp_path.parent / "secret.txt")
    track.close("FINISHED")
    append_entries(tmp_path / JOURNAL_FILE, [{"file": name, "to": ""}])
    assert not sync_runs([str(tmp_path)], str(track.runs))
    assert name in capfd.readouterr().err
    assert name.rpartition("/")[2] not in [one.path for one in MlflowClient(track.uri).list_artifacts(track.run_id)]


def test_datasets_are_inputs_of_the_run(track: MLflow) -> None:
    track.log_dataset("Set5", "0123456789abcdef", "/data/Set5", "test")
    track.close("FINISHED")
    (used,) = get_run(track).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == ("Set5", "0123456789abcdef", "test")


@pytest.mark.long
def test_several_runs_started_at_once_on_a_fresh_database_all_succeed(tmp_path: Path) -> None:
    program = f"""
import os, mlflow.store.tracking.sqlalchemy_store
from pathlib import Path
from sr.track.mlflow import MLflow
for _ in range(3):  # 8 processes, each with everything imported already
    os.fork()
track = MLflow(None, {str(tmp_path)!r}, "new")
folder = Path({str(tmp_path)!r}) / f"run-{{os.getpid()}}"
folder.mkdir()
track.start("one of many", folder, {{}}, [], {{}})
track.log_points({{"a": 1.0}}, 1)
track.close("FINISHED")
try:
    while True:
        assert os.wait()[1] == 0
except ChildProcessError:
    pass  # no child is left
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("new").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 8


def test_a_panel_says_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image, step, and that PSNR is that of the crop; a name that is too long keeps the step."""
    texts: list[str] = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda _, place, text, **options: texts.append(text))
    hr = torch.rand(1, 3, 80, 80)
    output = EvaluationOutput(torch.rand(1, 3, 40, 40), hr.clamp(0.1, 0.9), hr)
    draw_panel(output, Protocol("edsr", 2, "rgb"), "baby, step 300")
    assert texts[0] == "baby, step 300"
    assert [text.split()[:2] for text in texts[1:3]] == [["bicubic,", "crop"], ["SR,", "crop"]]
    assert all(re.search(r", crop \d+\.\d\d dB$", text) for text in texts[1:3])
    texts.clear()
    draw_panel(output, Protocol("edsr", 2, "rgb"), f"{'x' * 200}, step 300")
    assert texts[0].endswith(", step 300")
    assert len(texts[0]) < 60


def test_a_panel_shows_the_pixels_that_were_measured() -> None:
    """Four tiles of whole-pixel zoom, bicubic | SR over LR | HR, without any resampling between."""
    hr = (torch.rand(1, 3, 40, 40) * 255).round() / 255
    lr = (torch.rand(1, 3, 20, 20) * 255).round() / 255
    sheet = draw_panel(EvaluationOutput(lr, hr.clone(), hr), Protocol("edsr", 2, "rgb"))
    zoom = 4  # 40 pixels on at least 128
    pixels = torch.tensor(list(sheet.getdata())).view(sheet.height, sheet.width, 3)
    side, low = 40 * zoom, sheet.height // 2
    last = pixels[low : low + side : zoom, -side::zoom].permute(2, 0, 1)
    first = pixels[low : low + side : 2 * zoom, : side : 2 * zoom].permute(2, 0, 1)
    assert torch.equal(last, (hr[0] * 255).round().long())
    assert torch.equal(first, (lr[0] * 255).round().long())
