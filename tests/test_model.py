"""Training step of `model=cnn`: averaged weights, accumulation, clipping, precision, bad steps, memory."""

import copy
import inspect
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from specimen import After, fit, weights
from torch import Tensor, nn

from sr.callback.crash_batch import CrashBatch
from sr.image.batch import Pair
from sr.loss.charbonnier import Charbonnier
from sr.metric.protocol import Protocol
from sr.model.cnn import CNN
from sr.model.error import ExplodedError
from sr.model.gradient import measure_norm
from sr.model.guard import Guard
from sr.model.module import SharedParts, SRModule
from sr.model.objective import Objective
from sr.net.plain import Plain
from sr.runtime.error import UserError
from sr.schedule.constant import constant
from sr.trainer.default import Trainer


def cnn(loss: dict[str, nn.Module] | None = None, optimizer: Any = None, rate: float = 0.1, **options: Any) -> CNN:
    torch.manual_seed(0)
    terms = loss or {"mse": nn.MSELoss()}
    return CNN(
        net=Plain(2, width=4, depth=2), loss=Objective(terms, dict.fromkeys(terms, 1.0)),
        optimizer=optimizer or (lambda weights: torch.optim.SGD(weights, lr=rate)), schedule=constant,
        metric=Protocol("edsr", 2, "rgb"), color="rgb", **options,
    )  # fmt: skip


def pairs(count: int = 8, size: int = 2) -> list[Pair]:
    rng = torch.Generator().manual_seed(1)
    lrs = [torch.rand(size, 3, 8, 8, generator=rng) for _ in range(count)]
    return [Pair(lr, nn.functional.interpolate(lr, scale_factor=2, mode="bilinear")) for lr in lrs]


def train(module: CNN, steps: int, *observers: Any, data: list[Pair] | None = None, **options: Any) -> Trainer:
    return fit(module, steps, data or pairs(), *map(After, observers), **options)


def test_shared_parts_are_the_arguments_of_the_module() -> None:
    """`SharedParts` repeats the signature of `SRModule` for subclasses; `NotRequired` are those with a default."""
    parameters = list(inspect.signature(SRModule).parameters.values())
    assert list(SharedParts.__annotations__) == [p.name for p in parameters]
    assert SharedParts.__optional_keys__ == {p.name for p in parameters if p.default is not p.empty}


def test_averaged_weights_are_the_average() -> None:
    """Computed by the recurrence in float64; the decay rises as (1 + n) / (10 + n) up to `model.ema`."""
    module, seen = cnn(ema=0.3), []
    average = weights(module.net).double()
    train(module, 12, lambda m: seen.append(weights(m.net).double()))
    for n, value in enumerate(seen):
        decay = min(0.3, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * value
    assert torch.allclose(weights(module.eval_net).double(), average, atol=1e-6)
    assert not torch.equal(weights(module.eval_net), weights(module.net))


def test_an_accumulated_step_is_one_update() -> None:
    """Six steps with accumulation 4 take 24 batches and are 6 updates; each is the step of a batch four times as large."""
    module, batches, states = cnn(), [], [weights(cnn().net)]
    train(module, 6, lambda m: batches.append(1), lambda m: states.append(weights(m.net)), accumulate_grad_batches=4)
    assert len(batches) == 24
    assert sum(not torch.equal(a, b) for a, b in itertools.pairwise(states)) == 6
    large = [Pair(*(torch.cat(images) for images in zip(*pairs()[k : k + 4], strict=True))) for k in (0, 4)]
    whole = cnn()
    train(whole, 6, data=large)
    assert torch.allclose(weights(whole.net), weights(module.net), atol=1e-6)


def test_the_fused_optimizer_gives_the_same_training_but_for_rounding() -> None:
    ends = []
    for fused in (False, True):
        module = cnn(optimizer=lambda w, fused=fused: torch.optim.Adam(w, lr=1e-3, fused=fused))
        train(module, 20)
        ends.append(weights(module.net))
    assert not torch.equal(*ends)
    assert (ends[0] - ends[1]).abs().max() < 1e-5


@pytest.mark.parametrize("count", [0, 1, 12])
def test_the_gradient_norm_is_that_of_pytorch(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, k + 1, generator=generator) for k in range(count)]
    assert torch.equal(measure_norm(gradients), torch.nn.utils.get_total_norm(gradients))


def test_clipping_bounds_the_step() -> None:
    """The step of SGD with learning rate 1 is as long as the gradient."""
    module, norms = cnn(rate=1.0, clip=1e-3), []
    before = weights(module.net)
    train(module, 1, lambda m: norms.append(float(m.signals["train/grad_norm"])))
    assert norms[0] > 5e-3
    assert (weights(module.net) - before).norm() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    "options",
    [{"precision": "bf16-mixed"}, {"channels_last": True}, pytest.param({"compile": "eager"}, marks=pytest.mark.slow)],
    ids=lambda options: next(iter(options)),
)
def test_layout_precision_and_compile_change_speed_alone(options: dict[str, Any]) -> None:
    """Fifty steps of Adam on a fixed task end at the same loss, and with the same names in a checkpoint."""
    ends = []
    for chosen in ({}, options):
        module, losses = cnn(optimizer=lambda w: torch.optim.Adam(w, lr=1e-2)), []
        trainer = train(module, 50, lambda m, losses=losses: losses.append(float(m.signals["train/loss"])), **chosen)
        assert losses[-1] < losses[0] / 4
        ends.append((losses[-1], list(trainer._checkpoint_connector.dump_checkpoint()["state_dict"])))
    assert ends[1][0] == pytest.approx(ends[0][0], rel=0.1)
    assert ends[1][1] == ends[0][1]


def test_each_loss_term_is_logged_with_its_gradient_share() -> None:
    module, seen = cnn({"l1": nn.L1Loss(), "charbonnier": Charbonnier()}, gradient_share_interval=2), []
    module.loss.weights["charbonnier"] = 0.25
    train(module, 3, lambda m: seen.append({k: float(v) for k, v in m.signals.items()}))
    for signals in seen:
        total = signals["train/loss_l1"] + 0.25 * signals["train/loss_charbonnier"]
        assert signals["train/loss"] == pytest.approx(total, rel=1e-6)
    shares = [signals for signals in seen if "train/share_l1" in signals]
    assert [signals is seen[k] for signals, k in zip(shares, (0, 2), strict=True)] == [True, True]
    assert shares[0]["train/share_l1"] + shares[0]["train/share_charbonnier"] == pytest.approx(1)
    assert shares[0]["train/share_l1"] > shares[0]["train/share_charbonnier"] > 0


@pytest.mark.long
def test_a_compiled_net_gives_gradient_shares_after_a_step_without_them() -> None:
    """As after a resume: the backward pass is compiled in a step that needs the graph only once."""
    module, seen = cnn({"l1": nn.L1Loss(), "charbonnier": Charbonnier()}, gradient_share_interval=0), []

    def ask_for_shares(module: SRModule) -> None:
        seen.append(dict(module.signals))
        module.gradient_share_interval = 1

    train(module, 2, ask_for_shares, compile=True)
    assert ["train/share_l1" in signals for signals in seen] == [False, True]


def with_nan(data: list[Pair], *at: int) -> list[Pair]:
    """Return the data with LR of NaN in the batches `at`."""
    return [Pair(lr * math.nan, hr) if k in at else Pair(lr, hr) for k, (lr, hr) in enumerate(data)]


def test_a_bad_step_is_skipped_and_counted(capfd: pytest.CaptureFixture) -> None:
    """The weights equal those of a training without the bad batch."""
    good, bad = cnn(), cnn()
    data = pairs(12)
    train(good, 11, data=[pair for k, pair in enumerate(data) if k != 5])
    seen: list[int] = []
    train(bad, 12, lambda m: seen.append(m.signals.get("train/skipped", 0)), data=with_nan(data, 5))
    assert torch.equal(weights(good.net), weights(bad.net))
    assert bad.guard.skipped == seen[-1] == 1
    assert seen[:6] == [0] * 6
    assert "step 6: the loss is nan, so the step was skipped (1 so far)" in capfd.readouterr().err


def test_repeated_bad_steps_roll_back_and_lower_the_learning_rate() -> None:
    """The third within twenty steps restores the weights of a snapshot, with half the learning rate from then on."""
    module, seen = cnn(guard=Guard(snapshot_interval=4), ema=0.9), []
    before = {}

    def observe(m: CNN) -> None:
        seen.append(float(m.optimizers().param_groups[0]["lr"]))
        before[m.global_step] = weights(m.net), weights(m.ema.net)

    trainer = train(module, 12, observe, data=with_nan(pairs(12), 9, 10, 11))
    assert (module.guard.skipped, module.guard.rollbacks) == (3, 1)
    assert (seen[-1], trainer.optimizers[0].param_groups[0]["lr"]) == (0.1, 0.05)
    snapshots = (before[4], before[8])
    assert any(torch.equal(weights(module.net), net) for net, _ in snapshots)


def test_an_exploding_finite_loss_is_bad_as_well() -> None:
    data = pairs(30)
    data[25] = Pair(data[25].lr, data[25].hr + 100)
    module = cnn()
    train(module, 30, data=data)
    assert module.guard.skipped == 1


def test_a_training_that_explodes_for_good_ends_with_its_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"also after 2 rollbacks.*offending_step_\d+\.pt") as stop:
        trainer_data = with_nan(pairs(40), *range(8, 40))
        module = cnn(guard=Guard(max_rollbacks=2))
        fit(module, 40, trainer_data, CrashBatch(tmp_path))
    assert isinstance(stop.value, ExplodedError)
    batch = torch.load(next(tmp_path.glob("offending_step_*.pt")), weights_only=True)
    assert batch["lr"].isnan().all()
    assert batch["hr"].isfinite().all()


class SmallMemoryNet(nn.Module):
    """A net without memory for images above 90 LR pixels a side, nor for training."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale, self.receptive_field = Plain(2, width=4, depth=2), 2, 9

    def forward(self, lr: Tensor) -> Tensor:
        if self.training or max(lr.shape[-2:]) > 90:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.inner(lr)


def test_out_of_memory_in_validation_falls_back_to_tiles(capfd: pytest.CaptureFixture) -> None:
    module = cnn()
    module.net = SmallMemoryNet()
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    lr = torch.rand(1, 3, 150, 170)
    with torch.no_grad():
        nn.init.normal_(module.net.inner.body[2].weight)
        result = module.eval()._upscale(module.net, lr)
        assert torch.allclose(result, module.net.inner(lr), atol=1e-5)
    assert "an LR image of 170×150 does not fit in memory: now in tiles of" in capfd.readouterr().err


def test_large_images_are_tiled_with_a_note_and_then_in_smaller_tiles(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """It is said once; if a tile does not fit in memory, the next ones are half as large, not half the image."""
    monkeypatch.setattr("sr.inference.tile.MAX_UNTILED_PIXELS", 150 * 170 - 1)
    monkeypatch.setattr("sr.inference.tile.LARGE_IMAGE_TILE", 140)
    module = cnn()
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with torch.no_grad():
        for net in (module.net, module.net, SmallMemoryNet()):
            module.eval()._upscale(net.eval(), torch.rand(1, 3, 150, 170))
    assert capfd.readouterr().err.splitlines() == [
        "note: an LR image of 170×150 is evaluated in tiles of 140, as all above 2²⁰ pixels",
        "an LR image of 170×150 does not fit in memory: now in tiles of 70",
    ]


def test_out_of_memory_in_training_names_the_options_to_change(sr: Any, world: Path, tmp_path: Path) -> None:
    parts = tmp_path / "own"
    (parts / "model" / "net").mkdir(parents=True)
    (parts / "cramped.py").write_text(
        "import torch\nfrom sr.net.plain import Plain\n\n\nclass Cramped(Plain):\n    def forward(self, lr):\n"
        "        if self.training and torch.is_grad_enabled():\n            raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "        return super().forward(lr)\n"
    )
    (parts / "model" / "net" / "cramped.yaml").write_text("_target_: cramped.Cramped\nscale: ${scale}\n")
    answer = sr(
        "run", f"--config-dir={parts}", "model/net=cramped", "data=folder", f"data.path={world}/photos", "data.patch=32",
        "data.batch=5", "trainer.accelerator=cpu", "track=none",
    )  # fmt: skip
    assert answer.code == 2
    assert "data.batch=5 is too much. data.batch=3 trainer.accumulate_grad_batches=2" in answer.err


def test_out_of_memory_in_a_metric_names_the_option_to_change(
    sr: Any, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("sr.metric.score.Score.add", full)
    answer = sr("evaluate", "model/net=bicubic", "scale=2", "data.test=[Set5]", f"paths.data={world}", "track=none")
    assert answer.code == 2
    assert "Set5/s0: an image of 56×48 does not fit in memory; evaluate fewer metrics: metric/also=[]" in answer.err


def test_a_snapshot_is_a_copy() -> None:
    """The optimizer must not write to the tensors of a snapshot in later steps."""
    module = cnn(optimizer=lambda w: torch.optim.Adam(w, lr=1e-2), guard=Guard(snapshot_interval=1000))
    copies = []

    def observe(m: CNN) -> None:
        copies.append(copy.deepcopy(m.guard._snapshots[0]))

    train(module, 5, observe)
    now, then = module.guard._snapshots[0], copies[0]
    assert now.step == then.step == 0
    assert all(torch.equal(now.weights[name], value) for name, value in then.weights.items() if torch.is_tensor(value))
