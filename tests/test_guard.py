"""The guard with batch norm, a GAN and gradient accumulation; options of training that are checked."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from specimen import After, fit, weights
from test_gan import gan
from test_model import cnn, pairs, train, with_nan

from sr.image.batch import Pair
from sr.model.guard import Guard
from sr.net.srresnet import SRResNet


def test_a_bad_batch_does_not_change_a_batch_norm() -> None:
    """Its statistics change in the forward pass already, before the loss is known."""
    module = cnn(ema=0.9)
    module.net = SRResNet(2, width=4, blocks=1)
    module.ema.net = SRResNet(2, width=4, blocks=1).requires_grad_(False)
    train(module, 8, data=with_nan(pairs(), 5))
    assert module.guard.skipped == 1
    assert all(buffer.isfinite().all() for net in (module.net, module.ema.net) for buffer in net.buffers())
    assert module.eval_net.eval()(pairs()[0].lr).isfinite().all()


def test_bad_steps_of_g_and_d_together_count_once() -> None:
    """Real images of NaN corrupt D's gradient and G's loss: each is one bad step, and the third rolls back."""
    module = gan(adversarial_weight=1.0, warmup_steps=0, guard=Guard(snapshot_interval=2))
    bad = [Pair(lr, hr * math.nan if k in (4, 5, 6) else hr) for k, (lr, hr) in enumerate(pairs(9))]
    fit(module, 9, bad)
    assert (module.guard.skipped, module.guard.rollbacks) == (3, 1)
    assert all(weights(part).isfinite().all() for part in (module.net, module.discriminator))


@pytest.mark.parametrize("place", [0, 1])
def test_every_batch_of_an_accumulated_step_is_checked(place: int) -> None:
    data = pairs(60)
    data[50 + place] = Pair(data[50 + place].lr, data[50 + place].hr + 100)
    module = cnn()
    train(module, 30, data=data, accumulate_grad_batches=2)
    assert module.guard.skipped == 1


def test_an_exploded_accumulated_step_names_its_bad_batch() -> None:
    module, seen = cnn(guard=Guard(max_skips=1, max_rollbacks=0)), []
    with pytest.raises(Exception, match="the training has exploded") as stop:
        train(module, 4, lambda m: seen.append(m.global_step), data=with_nan(pairs(), 4), accumulate_grad_batches=2)
    assert stop.value.batch.lr.isnan().all()


def test_a_resumed_run_rolls_back_to_the_same_step_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """Three bad steps follow step 6, of which the checkpoint is: both return to the weights of step 4."""

    class SaveSix(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "6.ckpt")

    guard, bad = {"snapshot_interval": 2}, with_nan(pairs(3), 0, 1, 2)
    whole, resumed, seen = cnn(guard=Guard(**guard)), cnn(guard=Guard(**guard)), {}
    fit(whole, 9, pairs(6) + bad, After(lambda m: seen.setdefault(m.global_step, weights(m.net))), SaveSix())
    assert torch.load(tmp_path / "6.ckpt", weights_only=True)["module"]["guard"]["snapshots"][0]["step"] == 4
    fit(resumed, 9, bad + pairs(6), ckpt_path=tmp_path / "6.ckpt")
    assert (whole.guard.rollbacks, resumed.guard.rollbacks) == (1, 1)
    assert torch.equal(weights(whole.net), seen[4])
    assert torch.equal(weights(resumed.net), seen[4])


def test_a_negative_loss_does_not_explode() -> None:
    """The running mean is of the loss's size, so that one such as −PSNR is usual."""
    guard = Guard()
    assert all(guard.is_good_step(1.0, loss) for loss in [-30.0, -28.0, -32.0] * 20)
    assert not guard.is_good_step(1.0, 1e4)


def test_a_schedule_free_optimizer_needs_no_ema(sr: Any, world: Any, tmp_path: Path) -> None:
    answer = sr(
        "run", "model/optimizer=schedule_free", "model/schedule=constant", "data=folder", f"data.path={world}/photos",
        "data.patch=32", "data.batch=4", "trainer.max_steps=2", "trainer.accelerator=cpu", "track=none",
    )  # fmt: skip
    assert answer.code == 0
    content = torch.load(next(iter(tmp_path.rglob("last.ckpt"))), weights_only=True)
    assert not any(name.startswith("ema.") for name in content["state_dict"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.gradient_clip_val=-1", "expected a number above 0, or null"),
        ("+model.loss.fft.weight=0.1", "model/loss=[…,fft]"),
        ("model.loss.l1.weight=abc", "model.loss.l1.weight=abc: expected a number above 0"),
        ("model.gradient_share_interval=0", "model.gradient_share_interval=0: expected a whole number, 1 or more"),
        ("model.ema=1", "model.ema=1: expected a number above 0 and below 1"),
        ("trainer.channels_last=maybe", "expected true or false"),
        ("trainer.compile=foo", "expected true, false, or one of"),
        ("monitor=psnr_raw", "monitor=psnr_raw: expected a metric that is evaluated"),
    ],
)
def test_options_of_training_are_checked(sr: Any, typed: str, said: str) -> None:
    answer = sr("run", typed, "track=none", "trainer.max_steps=2", "data.batch=2", "data.patch=32")
    assert answer.code == 2
    assert said in answer.err
