"""The watch: each constructed failure is named by its own rule and by no other, and nothing healthy by any."""

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

Pictures = list[tuple[Tensor, Tensor]]  # LR and HR, float 0…1, [1, 3, h, w]
PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png")
BLUE = torch.tensor([0.0, 0.0, 0.1]).view(3, 1, 1)


def degraded(images: list[Image.Image], scale: int) -> Pictures:
    """Their middle 192×192 pixels, with an LR of each."""
    result = []
    for image in images:
        left, top = (image.width - 192) // 2, (image.height - 192) // 2
        hr = torch.from_numpy(np.array(image.crop((left, top, left + 192, top + 192)))).movedim(-1, 0)[None]
        result.append((imresize(hr, 1 / scale).float() / 255, hr.float() / 255))
    return result


def named(pictures: Pictures, enlarge: Callable[[Tensor, Tensor], Tensor]) -> set[str]:
    """The picture rules that name this way of making a result from LR and HR."""
    rules = {"collapse": Collapse(), "color_drift": ColorDrift(), "checkerboard": Checkerboard(),
             "over_sharpening": OverSharpening()}  # fmt: skip
    for rule in rules.values():
        for lr, hr in pictures:
            rule.observe_images(lr, enlarge(lr, hr), hr)
    return {name for name, rule in rules.items() if rule.verdict()}


def sharpened(image: Tensor, amount: float = 1.5) -> Tensor:
    """An unsharp mask."""
    return image + amount * (image - nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False))


def transposed(lr: Tensor, hr: Tensor) -> Tensor:
    """A transposed convolution with kernel 3 and stride 2: the kernel, on its way from flat to bilinear, adds up to a
    different sum at each of the four places of a pixel."""
    scale = hr.shape[-1] // lr.shape[-1]
    ramp = torch.tensor([0.5, 1.0, 0.5])
    kernel = (0.8 * torch.outer(ramp, ramp) + 0.2 * 4 / 9).expand(3, 1, 3, 3)
    for _ in range(int(math.log2(scale))):
        lr = nn.functional.pad(lr, (0, 1, 0, 1), "replicate")
        lr = nn.functional.conv_transpose2d(lr, kernel, stride=2, padding=1, groups=3)[..., :-1, :-1]
    return lr


def noisy(lr: Tensor, hr: Tensor) -> Tensor:
    return hr + 3 / 255 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))


FAILURES = {
    "constant": ("collapse", lambda lr, hr: torch.full_like(hr, 0.4)),
    "only the mean": ("collapse", lambda lr, hr: hr.mean(dim=(2, 3), keepdim=True).expand_as(hr)),
    "always the same": ("collapse", lambda lr, hr: (torch.arange(192) / 192).expand_as(hr)),
    "blue": ("color_drift", lambda lr, hr: upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]) + BLUE / 2),
    "pale": ("color_drift", lambda lr, hr: 0.5 * hr + 0.5 * hr.mean(dim=1, keepdim=True)),
    "transposed": ("checkerboard", transposed),
    "halos": ("over_sharpening", lambda lr, hr: sharpened(upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]), 2.5)),
    "sharper than HR": ("over_sharpening", lambda lr, hr: sharpened(hr)),
}
HEALTHY = {
    "bicubic": lambda lr, hr: upscale_bicubic(lr, hr.shape[-1] // lr.shape[-1]),
    "nearest": lambda lr, hr: nn.functional.interpolate(lr, size=hr.shape[-2:]),
    "HR": lambda lr, hr: hr,
    "noise": noisy,
}


@pytest.fixture(scope="module", params=["photographs x2", "photographs x4", "Set5 x2"])
def pictures(request: pytest.FixtureRequest) -> Pictures:
    name, scale = request.param.split(" x")
    if name == "Set5":
        folder: Path = request.getfixturevalue("sr_data") / "Set5"
        files = sorted(path for path in folder.rglob("*.png") if min(Image.open(path).size) >= 192)[:3]
        return degraded([Image.open(path).convert("RGB") for path in files], int(scale))
    photos = request.getfixturevalue("photos")
    return degraded([photos(file) for file in PHOTOGRAPHS], int(scale))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_named_by_its_rule_alone(failure: str, pictures: Pictures) -> None:
    name, enlarge = FAILURES[failure]
    assert named(pictures, enlarge) == {name}


@pytest.mark.parametrize("health", HEALTHY)
def test_nothing_healthy_is_named(health: str, pictures: Pictures) -> None:
    assert named(pictures, HEALTHY[health]) == set()


@pytest.mark.parametrize(
    ("failure", "offset", "expected"), [("none", 0.0, set()), ("in the loss", BLUE, {"color_drift"})]
)
def test_a_trained_net(failure: str, offset: Any, expected: set[str], photos: Any) -> None:
    """Forty steps: an offset of colour in the loss is learned, and named; without it nothing is."""
    pictures = degraded([photos(file) for file in PHOTOGRAPHS], 2)
    torch.manual_seed(0)
    net = Plain(2, width=8, depth=2)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for k in range(40):
        lr, hr = (image[..., : 32 * s, : 32 * s] for image, s in zip(pictures[k % 3], (1, 2), strict=True))
        optimizer.zero_grad()
        (net(lr) - hr - offset).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert named(pictures, lambda lr, hr: net(lr)) == expected


def test_gray_and_tiny_pictures_are_judged_as_far_as_can_be(photos: Any) -> None:
    """One channel; 32×32 pixels in a batch; and pictures that are too small to have a spectrum."""
    (lr, hr), *_ = degraded([photos("coffee.png")], 4)
    gray = [(lr[:, :1], hr[:, :1])]
    assert named(gray, lambda lr, hr: upscale_bicubic(lr, 4)) == set()
    assert named(gray, lambda lr, hr: upscale_bicubic(lr, 4) + 0.05) == {"color_drift"}
    for side in (32, 16):
        blocks = hr.unfold(2, side, side).unfold(3, side, side).movedim(1, 3).reshape(-1, 3, side, side)
        crops = [(imresize(blocks, 0.25), blocks)]
        assert named(crops, lambda lr, hr: upscale_bicubic(lr, 4)) == set()
        assert named(crops, lambda lr, hr: torch.full_like(hr, 0.5)) == {"collapse"}
        assert named(crops, transposed) == ({"checkerboard"} if side == 32 else set())


def spoken(rule: Rule, real: float, fake: float, loss: float, steps: int = 60, **more: float) -> str | None:
    """What the rule says after these steps of noisy readings."""
    told = None
    for step in range(steps):
        wave = 0.005 * math.sin(step)
        told = rule.observe_step(
            step, {"train/d_real": real + wave, "train/d_fake": fake + wave, "train/loss_d": loss, **more}
        )
    return told


def test_who_wins_the_game() -> None:
    for readings in ((0.85, 0.15, 0.4), (0.6, 0.4, 1.1), (0.9, 0.02, 0.15)):
        assert spoken(DWins(window=50), *readings) is None
        assert spoken(GWins(window=50), *readings) is None
    assert "D(real)=0.99" in spoken(DWins(window=50), 0.99, 0.01, 0.02)
    assert "its loss is 0.005" in spoken(DWins(window=50), 0.78, 0.22, 0.005)  # of a hinge
    assert "1.0e-05 of G's gradient" in spoken(DWins(window=50), 0.9, 0.1, 0.2, **{"train/share_adversarial": 1e-5})
    assert spoken(DWins(window=50), 0.5, 0.5, 0.0) is None  # of a critic without bounds
    assert spoken(DWins(window=50), 0.99, 0.01, 0.02, steps=49) is None
    for real, fake in ((0.5, 0.5), (0.4, 0.6), (0.7, 0.69)):
        assert spoken(GWins(window=50), real, fake, 1.39)
    assert spoken(GWins(window=50), 1.0, 1.0, 0.3) is None  # two scores far out: nothing can be read
    assert GWins(window=1).observe_step(1, {}) is None  # no game yet
    slow, dead = GWins(window=50), GWins(window=50)
    assert spoken(slow, 0.5, 0.499, 1.39)
    assert "the same for every image" in spoken(dead, 0.5, 0.5, 1.39)
    assert "the same for every image" in spoken(GWins(window=50), 0.5, 0.4997, 1.39)  # it wanders by ten times as much
    assert "raise model.discriminator_optimizer.lr" in slow.advice
    assert "lower model.discriminator_optimizer.lr" in dead.advice


def judged(game: nn.Module, *readings: float, **more: float) -> str | None:
    """What `d_wins` says of this game after such readings of D(real), D(fake) and D's loss."""
    rule = DWins(window=50)
    rule.start(game)
    return spoken(rule, *readings, **more)


def test_d_wins_under_smooth_labels_where_its_belief_is_what_the_label_says() -> None:
    """0.9 is as sure as D may be, and 0.325 nats, the label's entropy, the least that its loss can be."""
    smooth, hard = Vanilla(label_smoothing=0.1), Vanilla()
    assert "D(real)=0.90, D(fake)=0.00" in judged(smooth, 0.9, 0.003, 0.33)
    assert "its loss is 0.330, 0.005 above its minimum" in judged(smooth, 0.87, 0.03, 0.33)
    assert judged(hard, 0.9, 0.003, 0.33) is None
    assert judged(smooth, 0.79, 0.14, 0.57) is None  # of gan_cifar10, which was well
    assert judged(smooth, 0.87, 0.03, 0.005) is None  # nothing of this game
    assert "D(real)=0.90" in judged(LSGAN(label_smoothing=0.1), 0.9, 0.0, 0.1)


def test_on_the_ramp_d_has_as_much_of_the_gradient_as_it_will_have_at_full_weight() -> None:
    """A thousandth of its weight gives a share of 2e-4 where 0.17 is to come; or of 1e-7, where 1e-4 is."""
    readings = (0.9, 0.1, 0.2)
    assert judged(Vanilla(), *readings, **{"train/share_adversarial": 2e-4, "train/ramp": 1e-3}) is None
    told = judged(Vanilla(), *readings, **{"train/share_adversarial": 1e-7, "train/ramp": 1e-3})
    assert "1.0e-04 of G's gradient" in told


def test_a_critic_has_not_won_by_being_sure() -> None:
    """Scores of any size are no beliefs, and there is no least loss; a slope that is gone is a victory here too."""
    game = WGAN()
    assert judged(game, 1.0, 0.0, -40.0, **{"train/share_adversarial": 0.05}) is None
    assert judged(game, 1.0, 0.0, 0.0) is None
    rule = DWins(window=50)
    rule.start(game)
    assert "1.0e-05 of G's gradient" in spoken(rule, 1.0, 0.0, -40.0, **{"train/share_adversarial": 1e-5})
    assert "raise model.adversarial_weight" in rule.advice
    rule.start(Vanilla())
    assert "raise model.adversarial_weight" not in rule.advice


@pytest.mark.parametrize(("game", "rate", "ramp"), [(WGAN(), 1e-2, 0), (Vanilla(saturating=False), 1e-3, 10**6)])
def test_a_healthy_game_is_let_be(game: nn.Module, rate: float, ramp: int) -> None:
    """Where a critic's scores are far apart, and at the beginning of a long ramp; by the numbers alone D would have won."""
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    judge = nn.Sequential(Patch(width=4, depth=1, norm="none"), nn.AdaptiveAvgPool2d(1))  # one logit
    module = gan(
        game, adversarial_weight=1e-2, warmup_steps=0, ramp_steps=ramp, judge=judge, gradient_share_interval=10
    )
    module.discriminator_optimizer = lambda weights: torch.optim.Adam(weights, lr=rate)
    module.optimizer = lambda weights: torch.optim.Adam(weights, lr=1e-4)
    alarms, blind = AlarmMonitor(NoTracker(), {"d_wins": DWins(window=20)}), DWins(window=20)
    misled: list[str | None] = []

    def look(module: Any) -> None:
        signals = {name: float(value) for name, value in module.signals.items() if name != "train/ramp"}
        misled.append(blind.observe_step(module.global_step, signals))

    fit(module, 120, pairs, alarms, After(look))
    assert any(misled)
    assert alarms.told == {}


@pytest.mark.parametrize(("rate", "expected"), [(3e-4, []), (3e-4 * 100, ["d_wins"]), (0.0, ["g_wins"])])
@pytest.mark.slow
def test_a_real_game(rate: float, expected: list[str], capfd: pytest.CaptureFixture) -> None:
    """D's rate times 100 makes it win; without a rate it never learns; in between both play."""
    torch.manual_seed(1)
    pairs = [Pair(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)) for _ in range(7)]
    module = gan(
        Vanilla(), adversarial_weight=1e-3, warmup_steps=0, judge=Patch(width=4, depth=1), gradient_share_interval=25
    )
    module.discriminator_optimizer = lambda weights: torch.optim.Adam(weights, lr=rate)
    module.optimizer = lambda weights: torch.optim.Adam(weights, lr=1e-4)
    alarms = AlarmMonitor(NoTracker(), {"d_wins": DWins(window=20), "g_wins": GWins(window=150)})
    fit(module, 160, pairs, alarms)
    assert list(alarms.told) == expected
    assert capfd.readouterr().err.count("ALARM") == len(expected)
