"""Contract tests, continued: the parts that a net is trained and evaluated with; every YAML is found."""

from pathlib import Path
from typing import Any

import pytest

FEATURE_METRICS = {"lpips": "alex", "dists": "vgg"}  # metrics on the features of a pretrained network
FEATURE_LOSSES = ("perceptual", "dists_like")  # losses on the features of a network that is not in this package
PRIORS = ("tv",)  # losses that ignore HR, and so are not smallest for equal images


@pytest.mark.group("model/discriminator")
def test_discriminator(choice: str, compose: Any, build: Any) -> None:
    """Images of 32 pixels or more become one finite logit or a map of them; each pixel and weight influences it."""
    import torch

    node = compose("model=gan", f"model/discriminator={choice}", "model.discriminator.width=4")["model"][
        "discriminator"
    ]
    for channels in (1, 3):
        discriminator = build.build_part(node | {"channels": channels}, "model.discriminator")
        for sides in ((32, 32), (33, 47), (64, 33), (47, 64)):
            image = torch.rand(2, channels, *sides, requires_grad=True)
            logits = discriminator(image)
            assert logits.shape[:2] == (2, 1)
            assert logits.isfinite().all()
            logits.square().mean().backward()
            assert image.grad.isfinite().all()
            assert image.grad.any(1).float().mean() > 0.9
            assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())


@pytest.mark.group("model/adversarial")
def test_adversarial_loss(choice: str, compose: Any, build: Any) -> None:
    """D's loss is lower if it separates real from fake; G's gradient raises D's output; probabilities are in 0…1."""
    import torch

    adversarial = build.build_part(
        compose("model=gan", f"model/adversarial={choice}")["model"]["adversarial"], "model.adversarial"
    )
    right, wrong = torch.full((4, 1), 0.9), torch.full((4, 1), 0.1)
    assert adversarial.discriminator(right, wrong) < adversarial.discriminator(wrong, right)
    for shape in ((4, 1), (4, 1, 3, 5)):
        real, fake = (torch.full(shape, value, requires_grad=True) for value in (0.2, 0.3))
        up, down = torch.autograd.grad(adversarial.discriminator(real, fake), (real, fake))
        assert (up < 0).all()  # gradient descent raises them
        assert (down > 0).all()
        others = {"real": real.detach()} if adversarial.relativistic else {}
        loss = adversarial.generator(fake, **others)
        assert loss.ndim == 0
        assert (torch.autograd.grad(loss, fake)[0] < 0).all()
    low, high = (adversarial.probability(torch.full((4, 1), value)) for value in (-3.0, 3.0))
    assert 0 <= low < high <= 1
    losses, probabilities = zip(
        *(measure_output(adversarial, real, fake) for real in range(-200, 201, 5) for fake in range(-200, 201, 10)),
        strict=True,
    )
    if adversarial.real_target is None:  # D's output is unbounded, and so is its loss
        assert (adversarial.min_d_loss, min(losses)) == (-float("inf"), -40)
    else:  # the best D has the smallest possible loss, and its probability of real images is real_target
        assert min(losses) == pytest.approx(adversarial.min_d_loss, abs=0.02)
        best = [
            probability
            for loss, probability in zip(losses, probabilities, strict=True)
            if loss <= adversarial.min_d_loss + 0.02
        ]
        assert max(best) == pytest.approx(adversarial.real_target, abs=0.2 * adversarial.min_d_loss + 0.03)


def measure_output(adversarial: Any, *tenths: int) -> tuple[float, float]:
    """Return D's loss for these outputs on real and fake images, in tenths, and its probability of the real one."""
    import torch

    real, fake = (torch.tensor([[value / 10]]) for value in tenths)
    return adversarial.discriminator(real, fake).item(), adversarial.probability(real).item()


@pytest.mark.group("model/penalty")
def test_penalty(choice: str, compose: Any, build: Any) -> None:
    """It is not negative, for one logit and for a map; D's weights get a gradient; weight and interval are options."""
    import torch

    from sr.discriminator.unet import UNet
    from sr.discriminator.vgg import VGG

    node = compose("model=gan", f"model/penalty=[{choice}]")["model"]["penalty"][choice]
    penalty = build.build_part(node, f"model.penalty.{choice}")
    assert penalty.weight > 0
    assert penalty.interval >= 1
    image, more = torch.rand(2, 2, 3, 32, 32).unbind()
    for discriminator in (UNet(width=4), VGG(width=4, dense=8, norm="none")):
        value = penalty(discriminator, image, more)
        assert value.ndim == 0
        assert 0 < value < float("inf")
        value.backward()
        gradients = [p.grad for p in discriminator.parameters() if p.grad is not None]
        assert sum(gradient.abs().sum() for gradient in gradients) > 0
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.filterwarnings("ignore:model.loss")
@pytest.mark.group("model/alarm")
def test_alarm(choice: str, compose: Any, build: Any) -> None:
    """It names an option to change; it reports nothing for healthy training, for healthy images, or without any images."""
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
    """It is finite, differentiable, smallest for equal images, equal in mixed precision, and weighted in the sum."""
    import torch
    from specimen import slim_vgg

    weights = [f"model.loss.{choice}.weights={slim_vgg(tmp_path)}"] if choice in FEATURE_LOSSES else []
    config = compose(f"model/loss=[{choice}]", *weights)
    assert config["model"]["loss"][choice].pop("weight") > 0
    loss = build.build_part(config["model"]["loss"][choice], f"model.loss.{choice}")
    for channels in (1, 3, 4):
        hr = torch.rand(2, channels, 16, 16)
        hr[0, :, :8] = 0.5  # in flat areas roots and quotients have no derivative
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
    """Return the loss after checking that it is a finite scalar with a finite gradient."""
    sr = sr.clone().requires_grad_()
    value = loss(sr, hr)
    value.backward()
    assert value.ndim == 0
    assert value.isfinite()
    assert sr.grad.isfinite().all()
    return value.item()


@pytest.mark.group("model/optimizer")
def test_optimizer(choice: str, compose: Any, build: Any) -> None:
    """It reduces the loss, and continues equally after its state was saved and loaded."""
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
            getattr(optimizer, "train", int)()  # schedule-free optimizers have this mode
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        getattr(optimizer, "eval", int)()
        ends.append(weight.detach())
    assert (ends[0] < 1).all()
    assert torch.equal(*ends)


@pytest.mark.group("model/schedule")
def test_schedule(choice: str, compose: Any, build: Any) -> None:
    """The rate is never negative, reaches the one that was set and does not exceed it; a resumed schedule continues."""
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
    """Shapes, dtype and range do not change; randomness comes only from the generator; probability is an option."""
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
    """An error of one level everywhere is 48.13 dB on luma, scaled by the range of luma; it describes itself."""
    import torch

    color = "y" if choice == "vdsr" else "rgb"
    protocol = build.build_part(compose(f"metric={choice}", f"color={color}")["metric"], "metric")
    hr = torch.randint(1, 254, (2, 1, 40, 40)) / 255
    assert protocol(hr + 1 / 255, hr)["psnr"] == pytest.approx([48.1308] * 2, abs=1e-4)
    assert protocol.describe()["protocol"] == choice


@pytest.mark.group("metric/also")
def test_further_metric(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    """One value for each image, equal alone and in a batch; equal images are best; it has a unit and a direction."""
    import torch
    from specimen import weight_files

    from sr.metric.metric import Metric

    weights = (
        [f"metric.also.{choice}.weights={weight_files(tmp_path)[FEATURE_METRICS[choice]]}"]
        if choice in FEATURE_METRICS
        else []
    )
    config = compose(f"metric/also=[{choice}]", *weights)
    protocol = build.build_part(config["metric"], "metric")
    ((name, measure),) = protocol.also.items()
    assert isinstance(measure, Metric)
    assert isinstance(measure.unit, str)
    assert measure.better in ("higher", "lower")
    assert name in (choice, f"{choice}_matlab", f"{choice}_opensr", f"{choice}_dis")
    assert measure.perceptual_rank >= 0
    side = {"ms_ssim": 180, "niqe": 192}.get(choice, 48)  # the first halves its images four times
    hr = torch.randint(0, 256, (2, 3, side, side + 12)) / 255
    sr = (hr + 0.1 * torch.randn_like(hr)).clamp(0, 1)
    degrade = build.build_part(config["data"]["degrade"], "data.degrade")
    lr = degrade((hr * 255).round().to(torch.uint8)).float() / 255

    def evaluate(sr: torch.Tensor, hr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        before = protocol.prepare(hr, hr, lr) if measure.needs_previous else None  # of a scene that is still
        return dict(protocol.iterate_values(protocol.prepare(sr, hr, lr), before))[name]

    values = evaluate(sr, hr, lr)
    assert (values.shape, values.dtype) == ((2,), torch.float64)
    alone = torch.cat([evaluate(sr[k : k + 1], hr[k : k + 1], lr[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(values, alone, rtol=1e-6, atol=1e-6)
    if not measure.needs_reference:
        assert torch.equal(evaluate(sr, sr, lr), values)
        return
    best = evaluate(hr, hr, lr)
    assert ((best - values) * protocol.sign(name) > 0).all()


@pytest.mark.group("trainer")
def test_trainer(choice: str, compose: Any, build: Any) -> None:
    config = compose(f"trainer={choice}", "track=none")
    track = build.build_part(config["track"], "track")
    assert build.build_trainer(config, [], track, manual=True).max_steps == config["trainer"]["max_steps"]


@pytest.mark.group("track")
@pytest.mark.usefixtures("sender_thread")
def test_track(choice: str, compose: Any, build: Any, tmp_path: Path) -> None:
    config = compose(f"track={choice}", f"paths.runs={tmp_path}")
    track = build.build_part(config["track"], "track")
    track.start("test", tmp_path, {"scale": "2"}, [], {})
    track.log_points({"a/b": 1.0}, 1)
    track.close("FINISHED")
    assert (track.run_id is None) == (choice != "mlflow")  # MLflow's
