"""The game: who gets which gradient, what a step is, and the literal values of the losses."""

import math
from typing import Any

import pytest
import torch
from specimen import After, fit, weights
from torch import Tensor, nn

from sr.adversarial.hinge import Hinge
from sr.adversarial.lsgan import LSGAN
from sr.adversarial.vanilla import Vanilla
from sr.discriminator.patch import Patch
from sr.metric.protocol import Protocol
from sr.model.gan import GAN
from sr.model.objective import Objective
from sr.net.plain import Plain
from sr.pair import Pair
from sr.schedule.constant import constant
from sr.trainer import Trainer


class NoLoss(nn.Module):
    """A pixel loss without any gradient, so that what G learns can only come from D."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr * 0).mean()


def gan(adversarial: nn.Module | None = None, loss: nn.Module | None = None, rate: float = 0.1, **dials: Any) -> GAN:
    torch.manual_seed(0)

    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=rate)

    return GAN(
        net=Plain(2, width=4, depth=2),
        discriminator=Patch(width=4, depth=1),
        loss=Objective({"pixel": loss or nn.L1Loss()}, {"pixel": 1.0}),
        adversarial=adversarial or Vanilla(),
        optimizer=sgd,
        discriminator_optimizer=sgd,
        schedule=constant,
        metric=Protocol("edsr", 2, "rgb"),
        color="rgb",
        **dials,
    )


def play(module: GAN, steps: int, *looks: Any, **dials: Any) -> Trainer:
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    return fit(module, steps, pairs, *map(After, looks), **dials)


@pytest.mark.parametrize("adversarial", [Vanilla(), Vanilla(saturating=False), LSGAN(), Hinge()])
def test_the_adversarial_gradient_reaches_the_generator(adversarial: nn.Module) -> None:
    """With no pixel loss, all that moves G is D's opinion; without its weight, G stands still."""
    moved = gan(adversarial, NoLoss(), weight=1.0, warmup_steps=0)
    still = gan(adversarial, NoLoss(), weight=0.0, warmup_steps=0)
    before = weights(moved.net)
    norms: list[float] = []
    play(moved, 3, lambda module: norms.append(float(module.signals["train/grad_norm_g"])))
    play(still, 3)
    assert not torch.equal(weights(moved.net), before)
    assert torch.equal(weights(still.net), before)
    assert min(norms) > 0


def test_the_generators_step_changes_only_the_generator() -> None:
    """With D's rate at zero, D stands still while G learns; and no gradient of G's half is left in D."""
    module = gan(Vanilla(), NoLoss(), weight=1.0, warmup_steps=0)
    module.discriminator_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    before = weights(module.discriminator)

    def no_gradient_in_d(module: GAN) -> None:
        assert all(p.grad is None or not p.grad.any() for p in module.discriminator.parameters())

    play(module, 3, no_gradient_in_d)
    assert torch.equal(weights(module.discriminator), before)


def test_the_discriminators_step_changes_only_the_discriminator() -> None:
    module = gan(loss=NoLoss(), weight=0.0, warmup_steps=0)
    generator, judge = weights(module.net), weights(module.discriminator)
    play(module, 3)
    assert torch.equal(weights(module.net), generator)
    assert not torch.equal(weights(module.discriminator), judge)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_is_one_update_of_the_generator(accumulate: int) -> None:
    """`max_steps=20` is 20 updates of G, whatever D does: the hooks that hide D from Lightning's counter still work."""
    module = gan(warmup_steps=5, accumulate=accumulate)
    updates, batches = [], []

    def count(module: GAN) -> None:
        batches.append(1)
        updates.append(module.global_step)

    trainer = play(module, 20, count)
    assert trainer.global_step == 20
    assert len(batches) == 20 * accumulate
    assert sorted(set(updates)) == list(range(1 if accumulate == 1 else 0, 21))


def test_the_generator_first_learns_alone() -> None:
    seen: list[set[str]] = []
    module = gan(warmup_steps=3)
    before = weights(module.discriminator)
    judge: list[Tensor] = []
    play(
        module,
        5,
        lambda module: seen.append(set(module.signals)),
        lambda module: judge.append(weights(module.discriminator)),
    )
    alone = {"train/loss_g", "train/loss_pixel", "train/grad_norm_g", "train/lr"}
    game = alone | {"train/loss_d", "train/loss_adversarial", "train/d_real", "train/d_fake", "train/grad_norm_d"}
    assert seen == [alone] * 3 + [game] * 2
    assert torch.equal(judge[2], before)
    assert not torch.equal(judge[4], before)


def test_clipping_bounds_each_players_step() -> None:
    """With SGD at rate 1, a step is as long as the gradient."""
    module = gan(loss=nn.MSELoss(), weight=1.0, warmup_steps=0, clip=1e-3, rate=1.0)
    before = weights(module.net), weights(module.discriminator)
    norms: list[float] = []
    play(module, 1, lambda m: norms.extend(float(m.signals[f"train/grad_norm_{k}"]) for k in "gd"))
    assert min(norms) > 1e-3
    for player, was in zip((module.net, module.discriminator), before, strict=True):
        assert (weights(player) - was).norm() == pytest.approx(1e-3, rel=1e-2)


def test_accumulated_batches_are_one_larger_batch() -> None:
    """Of a net without batch norm, in the warm-up: two batches of two give the step of one batch of four."""
    torch.manual_seed(1)
    lr, hr = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 16, 16)
    results = []
    for accumulate, loader in ((1, [Pair(lr, hr)]), (2, [Pair(lr[:2], hr[:2]), Pair(lr[2:], hr[2:])])):
        module = gan(loss=nn.MSELoss(), warmup_steps=9, accumulate=accumulate)
        fit(module, 1, loader)
        results.append(weights(module.net))
    assert torch.allclose(results[0], results[1], atol=1e-7)


def test_vanilla_is_the_original_game() -> None:
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
