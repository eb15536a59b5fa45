"""Contract, continued: the parts that a net is trained and measured with, each YAML found by itself."""

from pathlib import Path
from typing import Any

import pytest

LEARNED = {"lpips": "alex", "dists": "vgg"}  # measures that look through a network with weights


@pytest.mark.group("model/discriminator")
def test_discriminator(choice: str, compose: Any, build: Any) -> None:
    """Any size from 32 up; both channel counts; every weight gets a gradient."""
    import torch

    for channels, side in ((3, 32), (1, 40), (3, 96)):
        config = compose("model=gan", f"model/discriminator={choice}", f"channels={channels}")
        judge = build.part(config["model"]["discriminator"], "model.discriminator")
        opinion = judge(torch.rand(2, channels, side, side))
        assert opinion.shape[:2] == (2, 1)
        opinion.mean().backward()
        assert all(p.grad is not None for p in judge.parameters())


@pytest.mark.group("model/adversarial")
def test_adversarial_loss(choice: str, compose: Any, build: Any) -> None:
    """D's loss falls when it tells real from fake; G's gradient makes its fakes look more real; beliefs are 0…1."""
    import torch

    game = build.part(compose("model=gan", f"model/adversarial={choice}")["model"]["adversarial"], "model.adversarial")
    right, wrong = torch.full((4, 1), 0.9), torch.full((4, 1), 0.1)
    assert game.discriminator(right, wrong) < game.discriminator(wrong, right)
    fake = torch.zeros(4, 1, requires_grad=True)
    game.generator(fake).backward()
    assert (fake.grad < 0).all()
    assert 0 <= game.probability(torch.full((4, 1), -3.0)) <= game.probability(torch.full((4, 1), 3.0)) <= 1


@pytest.mark.group("model/loss")
def test_loss(choice: str, compose: Any, build: Any) -> None:
    """Finite, differentiable, smallest for equal images."""
    import torch

    loss = build.part(compose(f"model/loss={choice}")["model"]["loss"], "model.loss")
    hr = torch.rand(2, 3, 16, 16)
    sr = (hr + 0.1 * torch.randn_like(hr)).requires_grad_()
    value = loss(sr, hr)
    value.backward()
    assert value.ndim == 0
    assert sr.grad.isfinite().all()
    assert loss(hr, hr) < value


@pytest.mark.group("model/optimizer")
def test_optimizer(choice: str, compose: Any, build: Any) -> None:
    import torch

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build.part(compose(f"model/optimizer={choice}")["model"]["optimizer"], "model.optimizer")([weight])
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.group("model/schedule")
def test_schedule(choice: str, compose: Any, build: Any) -> None:
    """The rate is never negative, nor above the one that was set, and is reached."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    make = build.part(compose(f"model/schedule={choice}")["model"]["schedule"], "model.schedule")
    schedule = make(optimizer, total=200)
    rates = []
    for _ in range(201):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert 0.8 < max(rates) <= 1
    assert min(rates) >= 0


@pytest.mark.group("metric")
def test_protocol(choice: str, compose: Any, build: Any) -> None:
    """One level of error everywhere is worth 48.13 dB on luma, scaled by luma's own range; it says what it is."""
    import torch

    color = "y" if choice == "vdsr" else "rgb"
    protocol = build.part(compose(f"metric={choice}", f"color={color}")["metric"], "metric")
    hr = torch.randint(1, 254, (2, 1, 40, 40)) / 255
    assert protocol(hr + 1 / 255, hr)["psnr"] == pytest.approx([48.1308] * 2, abs=1e-4)
    assert protocol.describe()["protocol"] == choice


@pytest.mark.group("metric/also")
def test_further_measure(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    """One value an image, the same alone as in a batch; equal pictures are best; it says its unit and which way is better."""
    import torch
    from specimen import weight_files

    weights = [f"metric.also.{choice}.weights={weight_files(tmp_path)[LEARNED[choice]]}"] if choice in LEARNED else []
    config = compose(f"metric/also=[{choice}]", *weights)
    protocol = build.part(config["metric"], "metric")
    measure = protocol.also[choice]
    assert isinstance(measure.unit, str)
    assert measure.better in ("higher", "lower")
    side = 180 if choice == "ms_ssim" else 48  # which halves its pictures four times
    hr = torch.randint(0, 256, (2, 3, side, side + 12)) / 255
    sr = (hr + 0.1 * torch.randn_like(hr)).clamp(0, 1)
    degrade = build.part(config["data"]["degrade"], "data.degrade")
    lr = degrade((hr * 255).round().to(torch.uint8)).float() / 255
    values = protocol(sr, hr, lr)[choice]
    assert values.shape == (2,)
    alone = torch.cat([protocol(sr[k : k + 1], hr[k : k + 1], lr[k : k + 1])[choice] for k in range(2)])
    torch.testing.assert_close(values, alone, rtol=1e-6, atol=1e-6)
    best = protocol(hr, hr, lr)[choice]
    assert ((best - values) * protocol.sign(choice) > 0).all()


@pytest.mark.group("trainer")
def test_trainer(choice: str, compose: Any, build: Any) -> None:
    config = compose(f"trainer={choice}", "track=none")
    track = build.part(config["track"], "track")
    assert build.trainer(config, [], track, manual=True).max_steps == config["trainer"]["max_steps"]


@pytest.mark.group("track")
def test_track(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    config = compose(f"track={choice}", f"paths.runs={tmp_path}")
    track = build.part(config["track"], "track")
    track.start("test", tmp_path, config, [], {})
    track.points({"a/b": 1.0}, 1)
    track.end("FINISHED")
    assert (track.run_id is None) == (choice == "none")
