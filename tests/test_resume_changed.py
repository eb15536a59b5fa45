"""A run that is resumed with other data or another protocol: metrics of before cannot be compared with those of now."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_image

from sr.record.result import read_set_results

WORDS = (
    "data=folder", "data.patch=32", "data.batch=4", "model/net=plain", "model.net.width=4", "model/schedule=constant",
    "trainer.accelerator=cpu", "trainer.val_check_interval=2", "track=none",
)  # fmt: skip


def sets(world: Path) -> tuple[str, ...]:
    return f"paths.data={world}", f"data.path={world}/photos", "data.val=[Set5,Other]", "data.test=[Set5]"


@pytest.fixture
def first_run(sr: Any, world: Path, tmp_path: Path) -> Path:
    """Train two steps, validate on `Set5` and `Other`, and return the folder of the run."""
    for k in range(2):
        write_image(world / "Other" / "HR" / f"o{k}.png", seed=k + 50)
    answer = sr("run", *WORDS, *sets(world), "trainer.max_steps=2")
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("how", ["folder", pytest.param("file", marks=pytest.mark.slow)])
@pytest.mark.parametrize("words", [("data/degrade=surveillance",), ("data.val=[Other]",)])
def test_best_checkpoint_is_reset_if_validation_changes(
    sr: Any, first_run: Path, world: Path, how: str, words: tuple[str, ...]
) -> None:
    """The old metrics may be better: of easier LR, or of other images."""
    before = content(first_run / "last.ckpt")["sr"]
    again = (*WORDS, *sets(world), f"resume={first_run}/last.ckpt") if how == "file" else (f"resume={first_run}",)
    answer = sr("run", *again, "trainer.max_steps=4", *words)
    assert answer.code == 0, answer.err
    assert "the best checkpoint is reset" in answer.out
    folder = first_run if how == "folder" else max(first_run.parent.iterdir())
    after = content(folder / "last.ckpt")["sr"]
    assert content(folder / "best.ckpt")["global_step"] == 4
    assert {name.split("/")[1] for name in after["bicubic"]} == set(after["measured"])
    if "data/degrade=surveillance" in words:
        assert after["bicubic"]["val/Set5/psnr"] < before["bicubic"]["val/Set5/psnr"]
    if how == "folder":  # the old best checkpoint gets another name
        assert content(first_run / "best_until_2.ckpt")["global_step"] == 2


def test_best_checkpoint_stays_if_only_the_training_changes(sr: Any, first_run: Path) -> None:
    old = content(first_run / "last.ckpt")["sr"]["best"]
    answer = sr("run", f"resume={first_run}", "trainer.max_steps=3", "data.batch=2", "data.repeat=3")
    assert answer.code == 0, answer.err
    assert "is reset" not in answer.out
    assert content(first_run / "last.ckpt")["sr"]["bicubic"] == content(first_run / "previous.ckpt")["sr"]["bicubic"]
    assert content(first_run / "last.ckpt")["sr"]["best"]["val/Set5/psnr"] >= old["val/Set5/psnr"]


def test_run_with_the_l1_loss_of_pytorch_resumes(sr: Any, world: Path, tmp_path: Path) -> None:
    """Its name stands in the configs of older runs, where it means sr's own, but may also be a user's choice."""
    words = (*WORDS, *sets(world), "data.val=[Set5]", "trainer.max_steps=2", "model.loss.l1._target_=torch.nn.L1Loss")
    assert sr("run", *words, "+model.loss.l1.reduction=sum").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    answer = sr("run", f"resume={folder}", "trainer.max_steps=3")
    assert answer.code == 0, answer.err
    assert content(folder / "last.ckpt")["global_step"] == 3


@pytest.mark.parametrize("word", ["model.ema=null", "metric/also=[spectrum]", "metric=ntire"])
def test_ema_and_protocol_of_a_run_cannot_change(sr: Any, first_run: Path, word: str) -> None:
    answer = sr("run", f"resume={first_run}", "trainer.max_steps=3", word)
    assert answer.code == 2
    assert "continues with the same weights, optimizers and protocol" in answer.err
    assert "Traceback" not in answer.err


def test_every_checkpoint_of_a_schedule_free_optimizer_has_the_evaluated_weights(
    sr: Any, tmp_path: Path, world: Path
) -> None:
    """Training continues with other weights between two validations; a checkpoint of that time has the tested ones."""
    words = (
        "model/optimizer=schedule_free",
        "checkpoint_steps=3",
        "data.val=[]",
        "trainer.max_steps=3",
        "data.test=[Set5]",
    )
    answer = sr("run", *WORDS, f"paths.data={world}", f"data.path={world}/photos", *words)
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    last = content(folder / "last.ckpt")
    assert not last["optimizer_states"][0]["param_groups"][0]["train_mode"]
    learning, saved = last["module"]["learned"][0], [v for k, v in last["state_dict"].items() if k.startswith("net.")]
    assert any(not torch.equal(one, other) for one, other in zip(learning, saved, strict=False))
    again = sr(
        "evaluate", f"checkpoint={folder / 'last.ckpt'}", "data.test=[Set5]", f"paths.data={world}", "track=none"
    )
    assert again.code == 0, again.err
    measured = read_set_results(next(tmp_path.glob("runs/*evaluate*/evaluate.json")))["Set5"].metrics["psnr"]
    tested = json.loads((folder / "summary.json").read_text())["metrics"]["test/Set5/psnr"]
    assert tested == pytest.approx(measured, abs=1e-9)
