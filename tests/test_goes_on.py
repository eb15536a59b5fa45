"""Whole runs: resumed, out of patience, interrupted, and in several processes."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sr.checkpoint.load import load_checkpoint
from sr.model.gan import GAN

WORDS = ("data=folder", "data.patch=32", "data.batch=4", "trainer.accelerator=cpu", "track=none", "data.repeat=6")


@pytest.fixture
def run(sr: Any, world: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, Path]]]:
    """Trains by command; gives the answer and the run's folder."""

    def command(*words: str) -> tuple[Any, Path]:
        known = set((tmp_path / "runs").glob("*"))
        answer = sr("run", *WORDS, f"data.path={world}/photos", *words)
        return answer, next(iter(set((tmp_path / "runs").glob("*")) - known), None)

    return command


@pytest.mark.parametrize("optimizer", ["adam", "schedule_free"])
def test_a_resumed_training_ends_where_the_whole_one_does(run: Any, optimizer: str) -> None:
    """In a new run, from step 3, in the middle of an epoch: pictures, weights and rates go on as if nothing had been."""
    dials = (f"model/optimizer={optimizer}", "model/schedule=constant", "trainer.val_check_interval=3")
    whole = run(*dials, "trainer.max_steps=6")[1]
    half = run(*dials, "trainer.max_steps=3")[1]
    answer, rest = run(*dials, "trainer.max_steps=6", f"resume={half}/last.ckpt")
    assert answer.code == 0, answer.err
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (whole, rest))
    assert one["global_step"] == other["global_step"] == 6
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_patience_ends_a_training_that_gets_no_better(run: Any) -> None:
    answer, folder = run("patience=2", "trainer.val_check_interval=1", "model.optimizer.lr=0", "model.ema=null")
    assert answer.code == 0
    assert "no better val/folder/psnr in 2 validations" in answer.out
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 3


GAME = (
    "model=gan", "model/net=plain", "model.adversarial_weight=1", "model.warmup_steps=1", "model/discriminator=patch",
    "model.discriminator.norm=none",  # a batch norm has statistics of its own in each process
    "model.discriminator.depth=1", "model.discriminator.width=8",  # Adam makes steps of gradients that are all but zero
)  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_game_goes_on_as_if_nothing_had_been(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the third step: it is done, and both players' weights, optimizers and rates, and the average, end where they
    would have."""
    dials = (*GAME, "model.d_steps=2", "model.net.width=4", "trainer.max_steps=6", "trainer.val_check_interval=12")
    whole, step = run(*dials)[1], GAN.training_step

    def interrupted(module: GAN, *batch: Any) -> None:
        if module.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        step(module, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "training_step", interrupted)
        answer, half = run(*dials)
    assert answer.code != 0
    assert torch.load(half / "last.ckpt", weights_only=True)["global_step"] == 3
    answer, _ = run(f"resume={half}")
    assert answer.code == 0, answer.err
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (whole, half))
    assert one["global_step"] == other["global_step"] == 6
    assert {name.split(".")[0] for name in one["state_dict"]} >= {"net", "discriminator", "ema"}
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(other[part], one[part], rtol=0, atol=0, msg=part)


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(run: Any, world: Path) -> None:
    """The same weights, the same measured values, also where one process measures one picture more than the other; with
    two players as well, and one training after the other, as in a sweep."""
    dials = (
        "trainer.max_steps=4",
        "model/schedule=constant",
        "data.val=[Set14]",
        "data.test=[]",
        f"paths.data={world}",
    )
    for way in ((), GAME):
        one = run(*dials, *way, "model.net.width=4", "data.batch=8")[1]
        answer, two = run(*dials, *way, "model.net.width=4", "trainer=ddp", "trainer.devices=2")
        assert answer.code == 0, answer.err
        assert answer.out.count("finished: 4 steps") == 1
        single, double = (torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (one, two))
        for name, value in single.items():
            torch.testing.assert_close(double[name], value, rtol=0, atol=1e-6, msg=name)
        single, double = (load_checkpoint(folder) for folder in (one, two))
        assert double.metrics["val/Set14/psnr"] == pytest.approx(single.metrics["val/Set14/psnr"], abs=1e-4)


@pytest.mark.slow
def test_two_processes_go_on_waiting_together(run: Any, world: Path) -> None:
    """Both know after a pause which validation was the best one, so both stop at the same step."""
    dials = (
        "trainer=ddp", "trainer.devices=2", "model.net.width=4", "model.optimizer.lr=0", "model.ema=null",
        "trainer.val_check_interval=1", "data.val=[Set14]", "data.test=[]", f"paths.data={world}",
    )  # fmt: skip
    answer, half = run(*dials, "patience=3", "trainer.max_steps=3")
    assert answer.code == 0, answer.err
    answer, _ = run(f"resume={half}", "trainer.max_steps=9")
    assert answer.code == 0, answer.err
    assert torch.load(half / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_a_process_without_a_picture_to_measure_goes_on_with_the_others(run: Any, world: Path) -> None:
    """A folder of four pictures holds back one."""
    dials = (
        "trainer.max_steps=2",
        "model.net.width=4",
        "data=folder",
        f"data.path={world / 'photos'}",
        "data.patch=32",
    )
    answer, folder = run(*dials, "trainer=ddp", "trainer.devices=2")
    assert answer.code == 0, answer.err
    assert load_checkpoint(folder).metrics["val/folder/psnr"] > 0
