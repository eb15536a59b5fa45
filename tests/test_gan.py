"""Training step of `model=gan`: gradients of G and D, counting of steps, and values of the losses."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from specimen import After, fit, weights
from torch import Tensor, nn

from sr.adversarial.hinge import Hinge
from sr.adversarial.lsgan import LSGAN
from sr.adversarial.relativistic import Relativistic
from sr.adversarial.vanilla import Vanilla
from sr.adversarial.wgan import WGAN
from sr.discriminator.patch import Patch
from sr.image.batch import Pair
from sr.metric.protocol import Protocol
from sr.model.gan import GAN
from sr.model.objective import Objective
from sr.net.plain import Plain
from sr.penalty.r1 import R1
from sr.schedule.constant import constant
from sr.trainer.default import Trainer


class NoLoss(nn.Module):
    """A pixel loss without any gradient, so that G can only learn from D."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr * 0).mean()


def gan(
    adversarial: nn.Module | None = None,
    loss: nn.Module | None = None,
    rate: float = 0.1,
    discriminator: nn.Module | None = None,
    **options: Any,
) -> GAN:
    torch.manual_seed(0)
    net = Plain(2, width=4, depth=2)

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=rate)

    return GAN(
        net=net,
        discriminator=discriminator or Patch(width=4, depth=1),
        loss=Objective({"pixel": loss or nn.L1Loss()}, {"pixel": 1.0}),
        adversarial=adversarial or Vanilla(),
        optimizer=sgd,
        discriminator_optimizer=sgd,
        schedule=constant,
        metric=Protocol("edsr", 2, "rgb"),
        color="rgb",
        **options,
    )


def train(module: GAN, steps: int, *observers: Any, **options: Any) -> Trainer:
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    return fit(module, steps, pairs, *map(After, observers), **options)


@pytest.mark.parametrize(
    "adversarial", [Vanilla(), Vanilla(saturating=False), LSGAN(), Hinge(), Relativistic(), WGAN()], ids=repr
)
def test_the_adversarial_gradient_reaches_the_generator(adversarial: nn.Module) -> None:
    """G is changed by the adversarial loss alone if there is no pixel loss, and not at all with weight 0."""
    moved = gan(adversarial, NoLoss(), adversarial_weight=1.0, warmup_steps=0)
    still = gan(adversarial, NoLoss(), adversarial_weight=0.0, warmup_steps=0)
    before = weights(moved.net)
    norms: list[float] = []
    train(moved, 3, lambda module: norms.append(float(module.signals["train/grad_norm_g"])))
    train(still, 3)
    assert not torch.equal(weights(moved.net), before)
    assert torch.equal(weights(still.net), before)
    assert min(norms) > 0


@pytest.mark.parametrize("adversarial", [Vanilla(), Relativistic()], ids=repr)
def test_the_generators_step_changes_only_the_generator(adversarial: nn.Module) -> None:
    """D with learning rate 0 does not change while G learns; and G's loss leaves no gradient in D, also where it needs D's
    output for real images."""
    module = gan(adversarial, NoLoss(), adversarial_weight=1.0, warmup_steps=0)
    module.discriminator_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    before = weights(module.discriminator)

    def no_gradient_in_d(module: GAN) -> None:
        assert all(p.grad is None or not p.grad.any() for p in module.discriminator.parameters())

    train(module, 3, no_gradient_in_d)
    assert torch.equal(weights(module.discriminator), before)


def test_the_discriminators_step_changes_only_the_discriminator() -> None:
    module = gan(loss=NoLoss(), adversarial_weight=0.0, warmup_steps=0)
    g, d = weights(module.net), weights(module.discriminator)
    train(module, 3)
    assert torch.equal(weights(module.net), g)
    assert not torch.equal(weights(module.discriminator), d)


@pytest.mark.parametrize(("accumulate", "d_steps"), [(1, 1), (3, 1), (2, 3)])
def test_a_step_is_one_update_of_the_generator(accumulate: int, d_steps: int) -> None:
    """`max_steps=20` is 20 updates of G, however many D has: the hooks that hide D from Lightning's counter still work."""
    module = gan(warmup_steps=5, accumulate=accumulate, d_steps=d_steps)
    steps, batches, updates = [], [], []
    make_optimizer = module.discriminator_optimizer

    def count_updates(parameters: Any) -> torch.optim.Optimizer:
        optimizer = make_optimizer(parameters)
        optimizer.register_step_post_hook(lambda *_: updates.append(1))
        return optimizer

    def count(module: GAN) -> None:
        batches.append(1)
        steps.append(module.global_step)

    module.discriminator_optimizer = count_updates
    trainer = train(module, 20, count)
    assert trainer.global_step == 20
    assert len(batches) == 20 * accumulate * d_steps
    assert len(updates) == 15 * d_steps
    assert sorted(set(steps)) == list(range(1 if accumulate * d_steps == 1 else 0, 21))


@pytest.mark.parametrize("adversarial", [Vanilla(), Hinge(), Relativistic(), WGAN()], ids=repr)
@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate": 2, "d_steps": 2}, {"penalty": {"r1": R1(interval=2)}}, {"clip": 0.01, "ramp_steps": 3}],
)
def test_both_losses_share_forward_passes_of_the_discriminator_and_learn_the_same(
    adversarial: nn.Module, options: dict[str, Any]
) -> None:
    """The losses of G and D need D's output for the same images and the same weights of D."""
    states, signals, passes = [], [], []
    for shares in (True, False):
        module = gan(adversarial, adversarial_weight=0.5, warmup_steps=1, **options)
        assert module._has_repeatable_d
        module._has_repeatable_d = shares
        counts = [0]
        module.discriminator.register_forward_hook(lambda *_, counts=counts: counts.__setitem__(0, counts[0] + 1))
        train(module, 4)
        states.append([*module.net.parameters(), *module.discriminator.parameters()])
        signals.append(module.signals)
        passes.append(counts[0])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert signals[0] == signals[1]
    adversarial_batches = 3 * options.get("accumulate", 1)  # of G, after the warm-up
    assert passes[1] - passes[0] == adversarial_batches * (2 if adversarial.relativistic else 1)


@pytest.mark.parametrize("norm", ["spectral", "batch", "none"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_discriminator_that_changes_by_itself_is_asked_again(norm: str, noise: float) -> None:
    module = gan(discriminator=Patch(width=4, depth=2, norm=norm), instance_noise=noise)
    assert module._has_repeatable_d == (norm != "spectral" and not noise)
    own = nn.Sequential(Patch(width=4, depth=1), nn.Dropout())  # which says nothing of itself
    assert not gan(discriminator=own)._has_repeatable_d


def test_the_generator_learns_from_one_of_the_discriminators_batches() -> None:
    """G does not change before the last of three D steps; and D's batches leave no gradient in G."""
    module = gan(adversarial_weight=1.0, warmup_steps=0, d_steps=3, accumulate=1)
    seen: list[tuple[Tensor, Tensor]] = []
    train(module, 2, lambda m: seen.append((weights(m.net), weights(m.discriminator))))
    still = [torch.equal(one[0], other[0]) for one, other in pairwise(seen)]
    assert still == [True, False, True, True, False]
    assert not any(torch.equal(one[1], other[1]) for one, other in pairwise(seen))


def test_the_adversarial_weight_rises_on_a_ramp() -> None:
    module = gan(adversarial_weight=1e-2, warmup_steps=2, ramp_steps=4)
    ramp: list[float] = []
    train(module, 8, lambda m: ramp.append((m.signals["train/loss_g"] - m.signals["train/loss_pixel"]).item()
         / m.signals["train/loss_adversarial"].item() if "train/loss_adversarial" in m.signals else 0.0))  # fmt: skip
    assert ramp == pytest.approx([0, 0, 0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01], rel=1e-3, abs=1e-6)


def test_the_discriminator_gets_instance_noise() -> None:
    """Images are black and the net does not change, so the deviation of D's input is that of the noise."""
    for noise in (0.0, 0.3):
        deviations: list[float] = []
        module = gan(instance_noise=noise, warmup_steps=0, rate=0.0)
        module.discriminator.register_forward_hook(
            lambda _, images, out, deviations=deviations: deviations.append(images[0].std().item())
        )
        fit(module, 1, [Pair(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 16, 16))])
        # Real and fake for the loss of D; with noise, fake again for that of G.
        assert deviations == pytest.approx([noise] * (3 if noise else 2), rel=0.1)


class WeightPenalty(nn.Module):
    """A penalty on the size of D's weights."""

    weight, interval = 0.5, 3

    def forward(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        assert not fake.requires_grad
        return sum(p.square().sum() for p in discriminator.parameters())


def test_a_penalty_changes_the_discriminator_alone_every_few_updates() -> None:
    module = gan(penalty={"size": WeightPenalty()}, warmup_steps=1, d_steps=2, loss=NoLoss(), adversarial_weight=0.0)
    before, logged = weights(module.net), []
    train(module, 5, lambda m: logged.append("train/penalty_size" in m.signals))
    # The penalty is due at updates 0, 3 and 6 of 0, 1 | 2, 3 | 4, 5 | 6, 7.
    assert logged[1::2] == [False, True, True, False, True]
    assert torch.equal(weights(module.net), before)


def test_a_step_logs_the_last_values_of_its_updates() -> None:
    """D has two updates per step, and the penalty is due at every second one: the first, whose value remains."""
    penalty = WeightPenalty()
    penalty.interval = 2
    logged: list[dict[str, Any]] = []
    module = gan(penalty={"size": penalty}, warmup_steps=1, d_steps=2)
    train(module, 3, lambda m: logged.append(dict(m.signals)))
    warmup, *adversarial = logged[1::2]
    assert "train/penalty_size" not in warmup
    assert [step["train/penalty_size"].item() > 0 for step in adversarial] == [True, True]
    first, last = logged[4:]  # of the third step
    assert first["train/loss_d"] != last["train/loss_d"]
    assert first["train/penalty_size"] == last["train/penalty_size"]
    assert first.keys() == last.keys() - {
        "train/loss_g",
        "train/loss_pixel",
        "train/loss_adversarial",
        "train/grad_norm_g",
    }


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_g_and_d_learn_in_either_precision(precision: str) -> None:
    module = gan(Vanilla(saturating=False), NoLoss(), adversarial_weight=1.0, warmup_steps=0)
    before = weights(module.net), weights(module.discriminator)
    train(module, 3, precision=precision)
    for part, was in zip((module.net, module.discriminator), before, strict=True):
        assert not torch.equal(weights(part), was)
        assert weights(part).isfinite().all()
        assert all(p.dtype == torch.float32 for p in part.parameters())


def test_the_average_follows_the_generator() -> None:
    """Computed by EMA's recurrence (sr.model.ema) over the steps."""
    module = gan(warmup_steps=1, ema=0.5)
    average, each = weights(module.net), []
    train(module, 4, lambda m: each.append(weights(m.net)))
    for n, now in enumerate(each):
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * now
    assert torch.allclose(weights(module.ema.net), average, atol=1e-6)


def test_the_generator_is_first_trained_alone() -> None:
    seen: list[set[str]] = []
    module = gan(warmup_steps=3)
    before = weights(module.discriminator)
    states: list[Tensor] = []
    train(
        module,
        5,
        lambda module: seen.append(set(module.signals)),
        lambda module: states.append(weights(module.discriminator)),
    )
    alone = {"train/loss_g", "train/loss_pixel", "train/grad_norm_g", "train/lr"}
    of_d = {"train/loss_d", "train/loss_adversarial", "train/d_real", "train/d_fake", "train/grad_norm_d"}
    assert seen == [alone] * 3 + [alone | of_d] * 2
    assert torch.equal(states[2], before)
    assert not torch.equal(states[4], before)


def test_clipping_bounds_the_steps_of_g_and_d() -> None:
    """The step of SGD with learning rate 1 is as long as the gradient."""
    module = gan(loss=nn.MSELoss(), adversarial_weight=1.0, warmup_steps=0, clip=1e-3, rate=1.0)
    before = weights(module.net), weights(module.discriminator)
    norms: list[float] = []
    train(module, 1, lambda m: norms.extend(float(m.signals[f"train/grad_norm_{k}"]) for k in "gd"))
    assert min(norms) > 1e-3
    for part, was in zip((module.net, module.discriminator), before, strict=True):
        assert (weights(part) - was).norm() == pytest.approx(1e-3, rel=1e-2)


def test_accumulated_batches_are_one_larger_batch() -> None:
    """Two batches of two give the step of one batch of four, for G and D without batch norm."""
    torch.manual_seed(1)
    lr, hr = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)
    results = []
    for accumulate, loader in ((1, [Pair(lr, hr)]), (2, [Pair(lr[:2], hr[:2]), Pair(lr[2:], hr[2:])])):
        torch.manual_seed(2)
        discriminator = Patch(width=4, depth=1, norm="none")
        module = gan(
            loss=nn.MSELoss(),
            adversarial_weight=1.0,
            warmup_steps=0,
            accumulate=accumulate,
            discriminator=discriminator,
        )
        fit(module, 2, loader)
        results.append(torch.cat([weights(module.net), weights(module.discriminator)]))
    assert torch.allclose(*results, atol=1e-6)


def test_vanilla_is_the_original_loss() -> None:
    """Goodfellow et al., eq. 1, with D(x) = 0.8 and D(G(z)) = 0.3."""
    real, fake = torch.tensor([0.8]).logit(), torch.tensor([0.3]).logit()
    assert Vanilla().discriminator(real, fake).item() == pytest.approx(-(math.log(0.8) + math.log(0.7)), abs=1e-6)
    assert Vanilla().generator(fake).item() == pytest.approx(math.log(0.7), abs=1e-6)
    assert Vanilla(saturating=False).generator(fake).item() == pytest.approx(-math.log(0.3), abs=1e-6)
    assert Vanilla().probability(real).item() == pytest.approx(0.8, abs=1e-6)


def test_lsgan_and_hinge_by_hand() -> None:
    real, fake = torch.tensor([0.8]), torch.tensor([0.3])
    assert LSGAN().discriminator(real, fake).item() == pytest.approx(0.5 * 0.04 + 0.5 * 0.09, abs=1e-6)
    assert LSGAN().generator(fake).item() == pytest.approx(0.5 * 0.49, abs=1e-6)
    assert Hinge().discriminator(real, fake).item() == pytest.approx(0.2 + 1.3, abs=1e-6)
    assert Hinge().generator(fake).item() == pytest.approx(-0.3, abs=1e-6)
