"""The two best checkpoints: by PSNR, and by a perceptual metric."""

import copy
import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sr.callback.best import BestCheckpoint
from sr.callback.checkpointing import CheckpointWriter
from sr.callback.monitor import find_monitored_metrics
from sr.metric.dists import DISTS
from sr.metric.key import SetKey, StepMetrics
from sr.metric.lpips import LPIPS
from sr.metric.protocol import Protocol
from sr.metric.spectrum import Spectrum
from sr.runtime.error import UserError
from sr.track.none import NoTracker
from sr.training.tables import format_checkpoint_table

CONFIG: dict[str, Any] = {"data": {"val": ["Set5"]}, "model": {"adversarial": {}}, "monitor_also": "auto"}
PROGRESS = ("ready", "started", "processed", "completed")
SET5 = SetKey("val", "Set5")
PSNR, SPECTRUM = SET5.metric("psnr"), SET5.metric("spectrum")
# Two without their networks, which need files: only their attributes are used.
METRICS = {"spectrum": Spectrum(), "dists": DISTS.__new__(DISTS), "lpips": LPIPS.__new__(LPIPS)}


class MockTraining:
    """The callbacks that write checkpoints, with a module and a trainer that do nothing."""

    def __init__(
        self,
        folder: Path,
        parent_folder: Path | None = None,
        monitor: str = "psnr",
        also: Iterable[str] = ("spectrum",),
        **options: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        protocol = Protocol("edsr", 2, "rgb", also={name: METRICS[name] for name in also})
        config = CONFIG | {"monitor": monitor} | options
        monitored = find_monitored_metrics(config, ["Set5"], protocol)
        self.best = BestCheckpoint(folder, monitored, parent_folder=parent_folder)
        self.writer = CheckpointWriter(self.best, config, NoTracker())
        self.module = SimpleNamespace(
            best=StepMetrics(), bicubic={}, may_become_best=True, use_eval_weights=nullcontext, metric=protocol,
        )  # fmt: skip
        self.trainer = SimpleNamespace(
            sanity_checking=False, is_global_zero=True, should_stop=False, world_size=1, num_training_batches=100,
            _checkpoint_connector=SimpleNamespace(dump_checkpoint=self._content),
        )  # fmt: skip

    def validate(self, step: int, **metrics: float) -> None:
        self.trainer.global_step = step
        self.module.metrics = {SET5.metric(name): value for name, value in metrics.items()}
        self.best.on_validation_end(self.trainer, self.module)
        self.writer.on_validation_end(self.trainer, self.module)

    def resume(self, path: Path) -> None:
        self.best.on_load_checkpoint(self.trainer, self.module, torch.load(path, weights_only=True))

    def _content(self, weights_only: bool) -> dict[str, Any]:
        counts = {"total": dict.fromkeys(PROGRESS, 0), "current": dict.fromkeys(PROGRESS, 0)}
        loops = {"epoch_loop.batch_progress": copy.deepcopy(counts), "epoch_progress": counts}
        content: dict[str, Any] = {"global_step": self.trainer.global_step, "loops": {"fit_loop": loops}}
        for callback in (self.best, self.writer):
            callback.on_save_checkpoint(self.trainer, self.module, content)
        return content


def steps(folder: Path) -> dict[str, int]:
    """Return the step of each checkpoint by its name."""
    return {path.stem: torch.load(path, weights_only=True)["global_step"] for path in folder.glob("*.ckpt")}


def test_both_are_saved_and_a_new_run_continues_with_both(tmp_path: Path) -> None:
    first = MockTraining(tmp_path / "first")
    for step, psnr, spectrum in ((1, 30.0, 5.0), (2, 29.0, 4.0), (3, 28.0, 4.5)):
        first.validate(step, psnr=psnr, spectrum=spectrum)
    assert steps(tmp_path / "first") == {"best": 1, "best_spectrum": 2, "last": 3, "previous": 2}
    assert [path.stem for path in first.best.list_files()] == ["best", "best_spectrum", "last"]
    assert (first.module.best.step, first.best.second_best.step) == (1, 2)

    second = MockTraining(tmp_path / "second", tmp_path / "first")
    second.resume(tmp_path / "first" / "last.ckpt")
    second.validate(4, psnr=29.5, spectrum=4.2)
    assert steps(tmp_path / "second") == {"best": 1, "best_spectrum": 2, "last": 4}
    second.validate(5, psnr=29.5, spectrum=3.9)
    assert steps(tmp_path / "second") == {"best": 1, "best_spectrum": 5, "last": 5, "previous": 4}
    shown = format_checkpoint_table({"best.ckpt": second.module.best, "best_spectrum.ckpt": second.best.second_best},
                               (PSNR, PSNR, SPECTRUM)).splitlines()  # fmt: skip
    assert [line.split() for line in shown if "─" not in line] == [
        ["checkpoint", "step", str(PSNR), str(SPECTRUM)],
        ["best.ckpt", "1", "30.00", "5.0000"],
        ["best_spectrum.ckpt", "5", "29.50", "3.9000"],
    ]


def test_run_with_another_monitor_also_starts_without_second_best(tmp_path: Path) -> None:
    MockTraining(tmp_path / "first").validate(1, psnr=30.0, spectrum=5.0)
    second = MockTraining(tmp_path / "second", tmp_path / "first", monitor="spectrum", monitor_also="psnr")
    second.resume(tmp_path / "first" / "last.ckpt")
    second.validate(2, psnr=29.0, spectrum=6.0)
    assert steps(tmp_path / "second")["best_psnr"] == second.best.second_best.step == 2


@pytest.mark.parametrize(
    ("options", "metrics", "also"),
    [
        ({}, {"spectrum": 1.0}, "spectrum"),
        ({}, {"spectrum": 1.0, "dists": 1.0}, "dists"),
        ({}, {"spectrum": 1.0, "dists": 1.0, "lpips": 1.0}, "lpips"),
        ({}, {}, None),
        ({"monitor": "spectrum"}, {"spectrum": 1.0}, None),
        ({"monitor": "spectrum", "monitor_also": "psnr"}, {"spectrum": 1.0}, "psnr"),
        ({"model": {}}, {"spectrum": 1.0}, None),  # without adversarial training, auto selects none
        ({"model": {}, "monitor_also": "val/Set5/spectrum"}, {"spectrum": 1.0}, "spectrum"),
        ({"monitor_also": None}, {"spectrum": 1.0}, None),
    ],
)
def test_monitor_also_selects_the_second_metric(
    options: dict[str, Any], metrics: dict[str, float], also: str | None, tmp_path: Path
) -> None:
    training = MockTraining(tmp_path, also=metrics, **options)
    training.validate(1, psnr=30.0, **metrics)
    assert training.best.second_key == (also and SET5.metric(also))
    assert steps(tmp_path) == {"best": 1, "last": 1} | ({f"best_{also}": 1} if also else {})


def test_metric_that_is_not_evaluated_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"monitor_also=lpips: expected a metric that is evaluated: psnr, ssim, spectrum"
    ):
        MockTraining(tmp_path, monitor_also="lpips")


def test_a_monitored_metric_is_checked_before_there_is_a_run_folder(sr: Any, tmp_path: Path) -> None:
    answer = sr("run", "monitor=psnrr", "data.val=[sample]", "track=journal")
    assert (answer.code, "monitor=psnrr: expected a metric" in answer.err) == (2, True), answer.err
    assert not (tmp_path / "runs").exists()


def test_report_of_a_gan_run_has_a_row_for_each_best_checkpoint(sr: Any, world: Path, tmp_path: Path) -> None:
    answer = sr(
        "run", "model=gan", "model/net=plain", "model/discriminator=patch", "model.discriminator.width=4",
        "model.warmup_steps=1", "data=folder", f"data.path={world}/photos", "data.patch=32", "data.batch=2",
        "track=none", "trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.accelerator=cpu", "stages=[fit]",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "best_spectrum.ckpt").exists()
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert metrics["best_spectrum/val/folder/spectrum"] <= metrics["best/val/folder/spectrum"]
    rows = [line.split() for line in answer.out.splitlines() if line.startswith(("best.ckpt", "best_spectrum.ckpt"))]
    assert [row[2:] for row in rows] == [
        [f"{metrics[f'{best}/val/folder/psnr']:.2f}", f"{metrics[f'{best}/val/folder/spectrum']:.4f}"]
        for best in ("best", "best_spectrum")
    ]


def test_without_validation_sets_it_is_said_that_there_is_no_best_checkpoint(
    sr: Any, world: Path, tmp_path: Path
) -> None:
    answer = sr(
        "run", "model/net=plain", "model.net.width=4", "data=folder", f"data.path={world}/photos", "data.patch=32",
        "data.batch=2", "data.val=[]", "stages=[fit]", "track=none", "trainer.max_steps=2", "trainer.accelerator=cpu",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "note: data.val=[]: nothing is validated, so there is no best checkpoint, only last.ckpt" in answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in folder.glob("*.ckpt")] == ["last.ckpt"]
