"""Alarm rules: each constructed failure is detected by its own rule alone, and a healthy result by none."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from specimen import After, fit
from test_gan import gan
from torch import Tensor, nn

from sr.adversarial.lsgan import LSGAN
from sr.adversarial.vanilla import Vanilla
from sr.adversarial.wgan import WGAN
from sr.alarm.checkerboard import Checkerboard
from sr.alarm.collapse import Collapse
from sr.alarm.color_drift import ColorDrift
from sr.alarm.d_wins import DWins
from sr.alarm.g_wins import GWins
from sr.alarm.over_sharpening import OverSharpening
from sr.alarm.rule import Rule
from sr.callback.alarms import AlarmMonitor
from sr.discriminator.patch import Patch
from sr.image.batch import Pair
from sr.image.resize import imresize, upscale_bicubic
from sr.net.plain import Plain
from sr.track.none import NoTracker

ImagePairs = list[tuple[Tensor, Tensor]]  # LR and HR, float 0…1, [1, 3, h, w]
PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png")
BLUE = torch.tensor([0.0, 0.0, 0.1]).view(3, 1, 1)


def make_pairs(images: list[Image.Image], scale: int) -> ImagePairs:
    """Return the central 192×192 pixels of the images, each with its LR."""
    result = []
    for image in images:
        left, top = (image.width - 192) // 2, (image.height - 192) // 2
        hr = torch.from_numpy(np.array(image.crop((left, top, left + 192, top + 192)))).movedim(-1, 0)[None]
        result.append((imresize(hr, 1 / scale).float() / 255, hr.float() / 255))
    return result


def find_failures(images: ImagePairs, upscale: Callable[[Tensor, Tensor], Tensor]) -> set[str]:
    """Return the names of the rules that detect a failure in the results of `upscale(lr, hr)`."""
    rules = {"collapse": Collapse(), "color_drift": ColorDrift(), "checkerboard": Checkerboard(),
             "over_sharpening": OverSharpening()}  # fmt: skip
    for rule in rules.values():
        for lr, hr in images:
            rule.observe_images(lr, upscale(lr, hr), hr)
    failures = {name: message for name, rule in rules.items() if (message := rule.verdict())}
    assert all(len(f"ALARM {name} at step 1000000: {message}") <= 80 for name, message in failures.items())
    return set(failures)


def sharpen(image: Tensor, amount: float = 1.5) -> Tensor:
    """Apply an unsharp mask."""
    return image + amount * (image - nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False))


def upscale_transposed(lr: Tensor, hr: Tensor) -> Tensor:
    """Upscale by transposed convolutions with kernel 3 and stride 2: the kernel, a mixture of flat and bilinear, has a
    different sum at each of the four positions in a pixel."""
    scale = hr.shape[-1] // lr.shape[-1]
    ramp = torch.tensor([0.5, 1.0, 0.5])
    kernel = (0.8 * torch.outer(ramp, ramp) + 0.2 * 4 / 9).expand(3, 1, 3, 3)
    for _ in range(int(math.log2(scale))):
        lr = nn.functional.pad(lr, (0, 1, 0, 1), "replicate")
        lr = nn.functional.conv_transpose2d(lr, kernel, stride=2, padding=1, groups=3)[..., :-1, :-1]
    return lr


def add_noise(lr: Tensor, hr: Tensor) -> Tensor:
    return hr + 3 / 255 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))


FAILURES = {
    "constant": ("collapse", lambda lr, hr: torch.full_like(hr, 0.4)),
    "only the mean": ("collapse", lambda lr, hr: hr.mean(dim=(2, 3), keepdim=True).expand_as(hr)),
    "always the same": ("collapse", lambda lr, hr: (torch.arange(192) / 192).expand_as(hr)),
    "blue": ("color_drift", lambda lr, hr: upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]) + BLUE / 2),
    "pale": ("color_drift", lambda lr, hr: 0.5 * hr + 0.5 * hr.mean(dim=1, keepdim=True)),
    "transposed": ("checkerboard", upscale_transposed),
    "halos": ("over_sharpening", lambda lr, hr: sharpen(upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]), 2.5)),
    "sharper than HR": ("over_sharpening", lambda lr, hr: sharpen(hr)),
}
HEALTHY = {
    "bicubic": lambda lr, hr: upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]),
    "nearest": lambda lr, hr: nn.functional.interpolate(lr, size=hr.shape[-2:]),
    "HR": lambda lr, hr: hr,
    "noise": add_noise,
}


@pytest.fixture(scope="module", params=["photographs x2", "photographs x4", "Set5 x2"])
def images(request: pytest.FixtureRequest) -> ImagePairs:
    name, scale = request.param.split(" x")
    if name == "Set5":
        folder: Path = request.getfixturevalue("sr_data") / "Set5"
        files = sorted(path for path in folder.rglob("*.png") if min(Image.open(path).size) >= 192)[:3]
        return make_pairs([Image.open(path).convert("RGB") for path in files], int(scale))
    photos = request.getfixturevalue("photos")
    return make_pairs([photos(file) for file in PHOTOGRAPHS], int(scale))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_detected_by_its_rule_alone(failure: str, images: ImagePairs) -> None:
    name, upscale = FAILURES[failure]
    assert find_failures(images, upscale) == {name}


@pytest.mark.parametrize("case", HEALTHY)
def test_a_healthy_result_is_detected_by_no_rule(case: str, images: ImagePairs) -> None:
    assert find_failures(images, HEALTHY[case]) == set()


@pytest.mark.parametrize(
    ("failure", "offset", "expected"), [("none", 0.0, set()), ("in the loss", BLUE, {"color_drift"})]
)
def test_a_trained_net(failure: str, offset: Any, expected: set[str], photos: Any) -> None:
    """A color offset in the loss is learned in forty steps, and detected; without it nothing is."""
    images = make_pairs([photos(file) for file in PHOTOGRAPHS], 2)
    torch.manual_seed(0)
    net = Plain(2, width=8, depth=2)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for k in range(40):
        lr, hr = (image[..., : 32 * s, : 32 * s] for image, s in zip(images[k % 3], (1, 2), strict=True))
        optimizer.zero_grad()
        (net(lr) - hr - offset).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert find_failures(images, lambda lr, hr: net(lr)) == expected


def test_gray_and_small_images_are_checked_as_far_as_possible(photos: Any) -> None:
    """Images of one channel; of 32×32 pixels, in a batch; and too small for a spectrum."""
    (lr, hr), *_ = make_pairs([photos("coffee.png")], 4)
    gray = [(lr[:, :1], hr[:, :1])]
    assert find_failures(gray, lambda lr, hr: upscale_bicubic(lr, 4)) == set()
    assert find_failures(gray, lambda lr, hr: upscale_bicubic(lr, 4) + 0.05) == {"color_drift"}
    for side in (32, 16):
        blocks = hr.unfold(2, side, side).unfold(3, side, side).movedim(1, 3).reshape(-1, 3, side, side)
        crops = [(imresize(blocks, 0.25), blocks)]
        assert find_failures(crops, lambda lr, hr: upscale_bicubic(lr, 4)) == set()
        assert find_failures(crops, lambda lr, hr: torch.full_like(hr, 0.5)) == {"collapse"}
        assert find_failures(crops, upscale_transposed) == ({"checkerboard"} if side == 32 else set())


def observe_signals(rule: Rule, real: float, fake: float, loss: float, steps: int = 60, **more: float) -> str | None:
    """Return the rule's result after steps with these signals and a little noise."""
    failure = None
    for step in range(steps):
        wave = 0.005 * math.sin(step)
        failure = rule.observe_step(
            step, {"train/d_real": real + wave, "train/d_fake": fake + wave, "train/loss_d": loss, **more}
        )
    return failure


def test_d_wins_and_g_wins() -> None:
    for signals in ((0.85, 0.15, 0.4), (0.6, 0.4, 1.1), (0.9, 0.02, 0.15)):
        assert observe_signals(DWins(window=50), *signals) is None
        assert observe_signals(GWins(window=50), *signals) is None
    assert "D(real)=0.99" in observe_signals(DWins(window=50), 0.99, 0.01, 0.02)
    assert "its loss is 0.005" in observe_signals(DWins(window=50), 0.78, 0.22, 0.005)  # of a hinge
    assert "1.0e-05 of G's gradient" in observe_signals(
        DWins(window=50), 0.9, 0.1, 0.2, **{"train/share_adversarial": 1e-5}
    )
    assert observe_signals(DWins(window=50), 0.5, 0.5, 0.0) is None  # of a critic without bounds
    assert observe_signals(DWins(window=50), 0.99, 0.01, 0.02, steps=49) is None
    for real, fake in ((0.5, 0.5), (0.4, 0.6), (0.7, 0.69)):
        assert observe_signals(GWins(window=50), real, fake, 1.39)
    assert observe_signals(GWins(window=50), 1.0, 1.0, 0.3) is None  # two saturated probabilities cannot be compared
    assert GWins(window=1).observe_step(1, {}) is None  # in the warm-up
    slow, dead = GWins(window=50), GWins(window=50)
    assert observe_signals(slow, 0.5, 0.499, 1.39)
    assert "the same for every image" in observe_signals(dead, 0.5, 0.5, 1.39)
    assert "the same for every image" in observe_signals(
        GWins(window=50), 0.5, 0.4997, 1.39
    )  # its noise is ten times as large
    assert "raise model.discriminator_optimizer.lr" in slow.advice
    assert "lower model.discriminator_optimizer.lr" in dead.advice


def check_d_wins(adversarial: nn.Module, *values: float, **more: float) -> str | None:
    """Return the result of `d_wins` with this loss after steps with these D(real), D(fake) and loss of D."""
    rule = DWins(window=50)
    rule.start(adversarial)
    return observe_signals(rule, *values, **more)


def test_d_wins_takes_label_smoothing_into_account() -> None:
    """D(real) has the target 0.9, and D's loss the minimum 0.325 nats, the entropy of the label."""
    smooth, hard = Vanilla(label_smoothing=0.1), Vanilla()
    assert "D(real)=0.90, D(fake)=0.00" in check_d_wins(smooth, 0.9, 0.003, 0.33)
    assert "its loss is 0.330, 0.005 above its minimum" in check_d_wins(smooth, 0.87, 0.03, 0.33)
    assert check_d_wins(hard, 0.9, 0.003, 0.33) is None
    assert check_d_wins(smooth, 0.79, 0.14, 0.57) is None  # as in gan_cifar10, which is healthy
    assert check_d_wins(smooth, 0.87, 0.03, 0.005) is None  # the minimum without label smoothing
    assert "D(real)=0.90" in check_d_wins(LSGAN(label_smoothing=0.1), 0.9, 0.0, 0.1)


def test_the_gradient_share_on_the_ramp_is_extrapolated_to_the_full_weight() -> None:
    """A share of 2e-4 at a thousandth of the weight becomes 0.17 at the full weight; one of 1e-7 becomes 1e-4."""
    values = (0.9, 0.1, 0.2)
    assert check_d_wins(Vanilla(), *values, **{"train/share_adversarial": 2e-4, "train/ramp": 1e-3}) is None
    failure = check_d_wins(Vanilla(), *values, **{"train/share_adversarial": 1e-7, "train/ramp": 1e-3})
    assert "1.0e-04 of G's gradient" in failure


def test_a_critic_wins_only_by_its_gradient() -> None:
    """Its scores have no bounds and its loss no minimum; but without a gradient for G it has won too."""
    adversarial = WGAN()
    assert check_d_wins(adversarial, 1.0, 0.0, -40.0, **{"train/share_adversarial": 0.05}) is None
    assert check_d_wins(adversarial, 1.0, 0.0, 0.0) is None
    rule = DWins(window=50)
    rule.start(adversarial)
    assert "1.0e-05 of G's gradient" in observe_signals(rule, 1.0, 0.0, -40.0, **{"train/share_adversarial": 1e-5})
    assert "raise model.adversarial_weight" in rule.advice
    rule.start(Vanilla())
    assert "raise model.adversarial_weight" not in rule.advice


@pytest.mark.parametrize(("adversarial", "rate", "ramp"), [(WGAN(), 1e-2, 0), (Vanilla(saturating=False), 1e-3, 10**6)])
def test_a_healthy_gan_raises_no_alarm(adversarial: nn.Module, rate: float, ramp: int) -> None:
    """A critic with distant scores, and the beginning of a long ramp: by the signals alone D would have won."""
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    discriminator = nn.Sequential(Patch(width=4, depth=1, norm="none"), nn.AdaptiveAvgPool2d(1))  # one logit
    module = gan(
        adversarial,
        adversarial_weight=1e-2,
        warmup_steps=0,
        ramp_steps=ramp,
        discriminator=discriminator,
        gradient_share_interval=10,
    )
    module.discriminator_optimizer = lambda weights: torch.optim.Adam(weights, lr=rate)
    module.optimizer = lambda weights: torch.optim.Adam(weights, lr=1e-4)
    alarms, blind = AlarmMonitor(NoTracker(), {"d_wins": DWins(window=20)}), DWins(window=20)
    blind_failures: list[str | None] = []

    def observe(module: Any) -> None:
        signals = {name: float(value) for name, value in module.signals.items() if name != "train/ramp"}
        blind_failures.append(blind.observe_step(module.global_step, signals))

    fit(module, 120, pairs, alarms, After(observe))
    assert any(blind_failures)
    assert alarms.messages == {}


@pytest.mark.parametrize(("rate", "expected"), [(3e-4, []), (3e-4 * 100, ["d_wins"]), (0.0, ["g_wins"])])
@pytest.mark.slow
def test_a_real_gan(rate: float, expected: list[str], capfd: pytest.CaptureFixture) -> None:
    """D wins with 100 times the learning rate, and never learns with 0; in between neither wins."""
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    module = gan(
        Vanilla(),
        adversarial_weight=1e-3,
        warmup_steps=0,
        discriminator=Patch(width=4, depth=1),
        gradient_share_interval=25,
    )
    module.discriminator_optimizer = lambda weights: torch.optim.Adam(weights, lr=rate)
    module.optimizer = lambda weights: torch.optim.Adam(weights, lr=1e-4)
    alarms = AlarmMonitor(NoTracker(), {"d_wins": DWins(window=20), "g_wins": GWins(window=150)})
    fit(module, 160, pairs, alarms)
    assert list(alarms.messages) == expected
    assert capfd.readouterr().err.count("ALARM") == len(expected)
