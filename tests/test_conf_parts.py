"""Contract, continued: the parts that a net is trained and measured with, each YAML found by itself."""

from pathlib import Path
from typing import Any

import pytest

LEARNED = {"lpips": "alex", "dists": "vgg"}  # measures that look through a network with weights
THROUGH = ("perceptual", "dists_like")  # losses that look through one that is not in this package
PRIORS = ("tv",)  # losses that do not look at HR, and so are not smallest where both are equal


@pytest.mark.group("model/discriminator")
def test_discriminator(choice: str, compose: Any, build: Any) -> None:
    """Any size from 32 up, both channel counts: one finite logit or a map of them, which each pixel and weight matters to."""
    import torch

    node = compose("model=gan", f"model/discriminator={choice}", "model.discriminator.width=4")["model"][
        "discriminator"
    ]
    for channels in (1, 3):
        judge = build.build_part(node | {"channels": channels}, "model.discriminator")
        for sides in ((32, 32), (33, 47), (64, 33), (47, 64)):
            image = torch.rand(2, channels, *sides, requires_grad=True)
            opinion = judge(image)
            assert opinion.shape[:2] == (2, 1)
            assert opinion.isfinite().all()
            opinion.square().mean().backward()
            assert image.grad.isfinite().all()
            assert image.grad.any(1).float().mean() > 0.9
            assert all(p.grad is not None and p.grad.isfinite().all() for p in judge.parameters())


@pytest.mark.group("model/adversarial")
def test_adversarial_loss(choice: str, compose: Any, build: Any) -> None:
    """D's loss falls when it tells real from fake; G's gradient makes its fakes look more real; beliefs are 0…1."""
    import torch

    game = build.build_part(
        compose("model=gan", f"model/adversarial={choice}")["model"]["adversarial"], "model.adversarial"
    )
    right, wrong = torch.full((4, 1), 0.9), torch.full((4, 1), 0.1)
    assert game.discriminator(right, wrong) < game.discriminator(wrong, right)
    for shape in ((4, 1), (4, 1, 3, 5)):
        real, fake = (torch.full(shape, value, requires_grad=True) for value in (0.2, 0.3))
        up, down = torch.autograd.grad(game.discriminator(real, fake), (real, fake))
        assert (up < 0).all()  # a step downhill raises them
        assert (down > 0).all()
        others = {"real": real.detach()} if game.relativistic else {}
        loss = game.generator(fake, **others)
        assert loss.ndim == 0
        assert (torch.autograd.grad(loss, fake)[0] < 0).all()
    low, high = (game.probability(torch.full((4, 1), value)) for value in (-3.0, 3.0))
    assert 0 <= low < high <= 1
    losses, beliefs = zip(
        *(said(game, real, fake) for real in range(-200, 201, 5) for fake in range(-200, 201, 10)), strict=True
    )
    if game.real_target is None:  # what it says is of any size, and so is its loss
        assert (game.min_d_loss, min(losses)) == (-float("inf"), -40)
    else:  # D that may say anything is at the least loss there is, and believes in real images no more than that
        assert min(losses) == pytest.approx(game.min_d_loss, abs=0.02)
        best = [belief for loss, belief in zip(losses, beliefs, strict=True) if loss <= game.min_d_loss + 0.02]
        assert max(best) == pytest.approx(game.real_target, abs=0.2 * game.min_d_loss + 0.03)


def said(game: Any, *tenths: int) -> tuple[float, float]:
    """D's loss where it says these for real and fake, in tenths, and its belief in real images."""
    import torch

    real, fake = (torch.tensor([[value / 10]]) for value in tenths)
    return game.discriminator(real, fake).item(), game.probability(real).item()


@pytest.mark.group("model/penalty")
def test_penalty(choice: str, compose: Any, build: Any) -> None:
    """Not negative, of one logit and of a map alike; D's weights learn from it; how hard and how often are dials."""
    import torch

    from sr.discriminator.unet import UNet
    from sr.discriminator.vgg import VGG

    node = compose("model=gan", f"model/penalty=[{choice}]")["model"]["penalty"][choice]
    penalty = build.build_part(node, f"model.penalty.{choice}")
    assert penalty.weight > 0
    assert penalty.interval >= 1
    image, more = torch.rand(2, 2, 3, 32, 32).unbind()
    for judge in (UNet(width=4), VGG(width=4, dense=8, norm="none")):
        value = penalty(judge, image, more)
        assert value.ndim == 0
        assert 0 < value < float("inf")
        value.backward()
        gradients = [p.grad for p in judge.parameters() if p.grad is not None]
        assert sum(gradient.abs().sum() for gradient in gradients) > 0
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.filterwarnings("ignore:model.loss")
@pytest.mark.group("model/alarm")
def test_alarm(choice: str, compose: Any, build: Any) -> None:
    """Says what to turn; nothing of a healthy game or healthy pictures, again and again; nothing where nothing was seen."""
    import torch

    from sr.image.resize import imresize, upscale_bicubic

    rule = build.build_part(compose(f"model/alarm=[{choice}]")["model"]["alarm"][choice], f"model.alarm.{choice}")
    assert rule.advice
    assert set(rule.signals) <= {
        f"train/{name}" for name in ("d_real", "d_fake", "loss_d", "share_adversarial", "ramp")
    }
    healthy = {"train/d_real": 0.8, "train/d_fake": 0.2, "train/loss_d": 0.45, "train/share_adversarial": 0.1}
    assert {rule.observe_step(step, healthy if step > 100 else {}) for step in range(1000)} == {None}
    hr = imresize(torch.rand(4, 3, 12, 12), 8).clamp(0, 1)  # smooth, as photographs are
    for _ in range(2):
        lr = imresize(hr, 0.5)
        rule.observe_images(lr, upscale_bicubic(lr, 2), hr)
        assert rule.verdict() is None
    assert rule.verdict() is None


@pytest.mark.group("model/loss")
def test_loss(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    """Finite, differentiable, smallest for equal images; the same in mixed precision; its weight is a share of the sum."""
    import torch
    from specimen import slim_vgg

    weights = [f"model.loss.{choice}.weights={slim_vgg(tmp_path)}"] if choice in THROUGH else []
    config = compose(f"model/loss=[{choice}]", *weights)
    assert config["model"]["loss"][choice].pop("weight") > 0
    loss = build.build_part(config["model"]["loss"][choice], f"model.loss.{choice}")
    for channels in (1, 3, 4):
        hr = torch.rand(2, channels, 16, 16)
        hr[0, :, :8] = 0.5  # flat areas are where roots and quotients have no derivative
        noisy = (hr + 0.1 * torch.randn_like(hr)).bfloat16().float()
        noise, equal = gradient(loss, noisy, hr), gradient(loss, hr, hr)
        assert noise > equal
        wrong = [hr + 0.1, 0.8 * hr, hr.flip(-1), torch.zeros_like(hr), torch.nn.functional.avg_pool2d(hr, 3, 1, 1)]
        others = [gradient(loss, sr, hr) for sr in wrong]
        if choice not in PRIORS:
            assert all(value >= equal for value in others)
        with torch.autocast("cpu", torch.bfloat16):
            assert loss(noisy.bfloat16(), hr).item() == pytest.approx(noise, rel=1e-5)


def gradient(loss: Any, sr: Any, hr: Any) -> float:
    """The loss, a finite scalar with a finite gradient."""
    sr = sr.clone().requires_grad_()
    value = loss(sr, hr)
    value.backward()
    assert value.ndim == 0
    assert value.isfinite()
    assert sr.grad.isfinite().all()
    return value.item()


@pytest.mark.group("model/optimizer")
def test_optimizer(choice: str, compose: Any, build: Any) -> None:
    """It goes downhill, and saved and loaded it goes on as it would have."""
    import torch

    make = build.build_part(compose(f"model/optimizer={choice}")["model"]["optimizer"], "model.optimizer")
    straight, resumed = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    ends = []
    for weight, stop in ((straight, None), (resumed, 3)):
        optimizer = make([weight])
        for k in range(6):
            if k == stop:
                state = optimizer.state_dict()
                optimizer = make([weight])
                optimizer.load_state_dict(state)
            getattr(optimizer, "train", int)()  # schedule-free ones are told
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        getattr(optimizer, "eval", int)()
        ends.append(weight.detach())
    assert (ends[0] < 1).all()
    assert torch.equal(*ends)


@pytest.mark.group("model/schedule")
def test_schedule(choice: str, compose: Any, build: Any) -> None:
    """The rate is never negative, nor above the one that was set, and is reached; a resumed one goes on where it was."""
    import torch

    make = build.build_part(compose(f"model/schedule={choice}")["model"]["schedule"], "model.schedule")
    courses = []
    for stop in (None, 77):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        schedule = make(optimizer, total=200)
        rates = []
        for k in range(201):
            if k == stop:
                states = optimizer.state_dict(), schedule.state_dict()
                optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
                schedule = make(optimizer, total=200)
                optimizer.load_state_dict(states[0])
                schedule.load_state_dict(states[1])
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        courses.append(rates)
    assert 0.8 < max(courses[0]) <= 1
    assert min(courses[0]) >= 0
    assert courses[0] == courses[1]


@pytest.mark.group("data/augment")
def test_augmentation(choice: str, compose: Any, build: Any) -> None:
    """Shapes, dtype and range stay; chance comes from the generator alone; probability is a dial that is kept to."""
    import torch

    from sr.image.batch import Pair

    config = compose(f"data/augment=[{choice}]")["data"]["augment"][choice]
    pair = Pair(torch.rand(4, 3, 9, 12), torch.rand(4, 3, 18, 24))
    results = [
        build.build_part(config | {"probability": probability}, f"data.augment.{choice}")(
            pair, torch.Generator().manual_seed(7)
        )
        for probability in (1, 1, 0)
    ]
    for image, again, still, before in zip(*results, pair, strict=True):
        assert (image.shape, image.dtype) == (before.shape, before.dtype)
        assert image.min() >= 0
        assert image.max() <= 1
        assert torch.equal(image, again)
        assert torch.equal(still, before)
    assert not torch.equal(results[0].lr, pair.lr)


@pytest.mark.group("metric")
def test_protocol(choice: str, compose: Any, build: Any) -> None:
    """One level of error everywhere is worth 48.13 dB on luma, scaled by luma's own range; it says what it is."""
    import torch

    color = "y" if choice == "vdsr" else "rgb"
    protocol = build.build_part(compose(f"metric={choice}", f"color={color}")["metric"], "metric")
    hr = torch.randint(1, 254, (2, 1, 40, 40)) / 255
    assert protocol(hr + 1 / 255, hr)["psnr"] == pytest.approx([48.1308] * 2, abs=1e-4)
    assert protocol.describe()["protocol"] == choice


@pytest.mark.group("metric/also")
def test_further_measure(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    """One value an image, the same alone as in a batch; equal pictures are best; it says its unit and which way is better."""
    import torch
    from specimen import weight_files

    from sr.metric.metric import Metric

    weights = [f"metric.also.{choice}.weights={weight_files(tmp_path)[LEARNED[choice]]}"] if choice in LEARNED else []
    config = compose(f"metric/also=[{choice}]", *weights)
    protocol = build.build_part(config["metric"], "metric")
    measure = protocol.also[choice]
    assert isinstance(measure, Metric)
    assert isinstance(measure.unit, str)
    assert measure.better in ("higher", "lower")
    assert measure.label in (None, choice)
    assert measure.perceptual_rank >= 0
    side = 180 if choice == "ms_ssim" else 48  # which halves its pictures four times
    hr = torch.randint(0, 256, (2, 3, side, side + 12)) / 255
    sr = (hr + 0.1 * torch.randn_like(hr)).clamp(0, 1)
    degrade = build.build_part(config["data"]["degrade"], "data.degrade")
    lr = degrade((hr * 255).round().to(torch.uint8)).float() / 255
    values = protocol(sr, hr, lr)[choice]
    assert (values.shape, values.dtype) == ((2,), torch.float64)
    alone = torch.cat([protocol(sr[k : k + 1], hr[k : k + 1], lr[k : k + 1])[choice] for k in range(2)])
    torch.testing.assert_close(values, alone, rtol=1e-6, atol=1e-6)
    best = protocol(hr, hr, lr)[choice]
    assert ((best - values) * protocol.sign(choice) > 0).all()


@pytest.mark.group("trainer")
def test_trainer(choice: str, compose: Any, build: Any) -> None:
    config = compose(f"trainer={choice}", "track=none")
    track = build.build_part(config["track"], "track")
    assert build.build_trainer(config, [], track, manual=True).max_steps == config["trainer"]["max_steps"]


@pytest.mark.group("track")
def test_track(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    config = compose(f"track={choice}", f"paths.runs={tmp_path}")
    track = build.build_part(config["track"], "track")
    track.start("test", tmp_path, config, [], {})
    track.log_points({"a/b": 1.0}, 1)
    track.close("FINISHED")
    assert (track.run_id is None) == (choice != "mlflow")  # MLflow's
