"""Complete runs: resumed, stopped early, interrupted, and in several processes."""

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
    """Return a function that trains by command line and returns the answer and the run's folder."""

    def command(*words: str) -> tuple[Any, Path]:
        known = set((tmp_path / "runs").glob("*"))
        answer = sr("run", *WORDS, f"data.path={world}/photos", *words)
        return answer, next(iter(set((tmp_path / "runs").glob("*")) - known), None)

    return command


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "schedule_free"])
def test_run_from_a_checkpoint_ends_like_an_uninterrupted_one(run: Any, optimizer: str) -> None:
    """A new run from step 3, in the middle of an epoch, continues images, weights and learning rates."""
    options = (f"model/optimizer={optimizer}", "model/schedule=constant", "trainer.val_check_interval=3")
    whole = run(*options, "trainer.max_steps=6")[1]
    half = run(*options, "trainer.max_steps=3")[1]
    answer, rest = run(*options, "trainer.max_steps=6", f"resume={half}/last.ckpt")
    assert answer.code == 0, answer.err
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (whole, rest))
    assert one["global_step"] == other["global_step"] == 6
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_patience_stops_a_training_that_does_not_improve(run: Any) -> None:
    answer, folder = run("patience=2", "trainer.val_check_interval=1", "model.optimizer.lr=0", "model.ema=null")
    assert answer.code == 0
    assert "no better val/folder/psnr in 2 validations" in answer.out
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 3


GAN_OPTIONS = (
    "model=gan", "model/net=plain", "model.adversarial_weight=1", "model.warmup_steps=1", "model/discriminator=patch",
    "model.discriminator.norm=none",  # a batch norm has statistics of its own in each process
    "model.discriminator.depth=1", "model.discriminator.width=8",  # Adam makes steps of gradients that are all but zero
)  # fmt: skip


@pytest.mark.slow
def test_interrupted_gan_resumes_to_the_same_result(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the third step lets it finish; then the weights, optimizers and learning rates of G and D, and the average,
    end as in an uninterrupted run."""
    options = (
        *GAN_OPTIONS,
        "model.d_steps=2",
        "model.net.width=4",
        "trainer.max_steps=6",
        "trainer.val_check_interval=12",
    )
    whole, step = run(*options)[1], GAN.training_step

    def interrupt_third_step(module: GAN, *batch: Any) -> None:
        if module.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        step(module, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "training_step", interrupt_third_step)
        answer, half = run(*options)
    assert answer.code != 0
    assert torch.load(half / "last.ckpt", weights_only=True)["global_step"] == 3
    answer, _ = run(f"resume={half}")
    assert answer.code == 0, answer.err
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (whole, half))
    assert one["global_step"] == other["global_step"] == 6
    assert {name.split(".")[0] for name in one["state_dict"]} >= {"net", "discriminator", "ema"}
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(other[part], one[part], rtol=0, atol=0, msg=part)


@pytest.mark.long
def test_two_processes_train_like_one_with_twice_the_batch(run: Any, world: Path) -> None:
    """Weights and metrics are equal, also if one process evaluates one image more than the other; with a GAN as well, and
    one training after the other, as in a sweep."""
    options = (
        "trainer.max_steps=4",
        "model/schedule=constant",
        "data.val=[Set14]",
        "data.test=[]",
        f"paths.data={world}",
    )
    for model in ((), GAN_OPTIONS):
        one = run(*options, *model, "model.net.width=4", "data.batch=8")[1]
        answer, two = run(*options, *model, "model.net.width=4", "trainer=ddp", "trainer.devices=2")
        assert answer.code == 0, answer.err
        assert answer.out.count("finished: 4 steps") == 1
        single, double = (torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (one, two))
        for name, value in single.items():
            torch.testing.assert_close(double[name], value, rtol=0, atol=1e-6, msg=name)
        single, double = (load_checkpoint(folder) for folder in (one, two))
        assert double.metrics["val/Set14/psnr"] == pytest.approx(single.metrics["val/Set14/psnr"], abs=1e-4)


@pytest.mark.long
def test_two_processes_count_patience_together_after_a_resume(run: Any, world: Path) -> None:
    """Both processes know after a resume which validation was the best, so both stop at the same step."""
    options = (
        "trainer=ddp", "trainer.devices=2", "model.net.width=4", "model.optimizer.lr=0", "model.ema=null",
        "trainer.val_check_interval=1", "data.val=[Set14]", "data.test=[]", f"paths.data={world}",
    )  # fmt: skip
    answer, half = run(*options, "patience=3", "trainer.max_steps=3")
    assert answer.code == 0, answer.err
    answer, _ = run(f"resume={half}", "trainer.max_steps=9")
    assert answer.code == 0, answer.err
    assert torch.load(half / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_process_without_an_image_to_evaluate_waits_for_the_others(run: Any, world: Path) -> None:
    """A folder of four images holds out one, for two processes."""
    options = (
        "trainer.max_steps=2",
        "model.net.width=4",
        "data=folder",
        f"data.path={world / 'photos'}",
        "data.patch=32",
    )
    answer, folder = run(*options, "trainer=ddp", "trainer.devices=2")
    assert answer.code == 0, answer.err
    assert load_checkpoint(folder).metrics["val/folder/psnr"] > 0
