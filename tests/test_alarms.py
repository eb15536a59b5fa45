"""The callback that evaluates alarm rules: which failures it reports, when, and how often."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sr.alarm.checkerboard import Checkerboard
from sr.alarm.color_drift import ColorDrift
from sr.alarm.rule import Rule
from sr.callback.alarms import AlarmMonitor
from sr.config.diff import flatten
from sr.image.batch import EvaluationOutput
from sr.track.none import NoTracker


class Tags(NoTracker):
    """A tracker that remembers tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, str] = {}

    def set_tag(self, key: str, value: str) -> None:
        self.tags[key] = value


class ScriptedRule(Rule):
    """A rule that reports positive signals, and for images the messages in `answers`."""

    advice, signals = ("turn that",), ("train/x",)

    def __init__(self) -> None:
        self.answers: Iterator[str | None] = iter(())

    def observe_step(self, step: int, signals: Any) -> str | None:
        return f"x is {signals['train/x']:.0f}" if signals.get("train/x", 0) > 0 else None

    def verdict(self) -> str | None:
        return next(self.answers, None)


def test_failure_in_signals_is_reported_once_until_it_was_absent_for_long(capfd: pytest.CaptureFixture) -> None:
    track = Tags()
    alarms = AlarmMonitor(track, {"says": ScriptedRule()})
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=9000)
    for step in range(1, 2601):
        bad = 100 <= step <= 300 or step in (400, 2500)  # 400: too soon to be reported again; 2500: late enough
        module.signals = {"train/x": torch.tensor(float(step if bad else 0)), "train/lr": 1.0}
        trainer = SimpleNamespace(global_step=step, is_global_zero=True)
        alarms.on_train_batch_end(trainer, module)
        alarms.on_train_batch_end(trainer, module)  # another batch of the same step
    alarms.on_train_end()
    assert alarms.messages == {"says": ["step 100: x is 100", "step 2500: x is 2500"]}
    assert track.tags == {"sr.alarm.says": "step 100: x is 100; step 2500: x is 2500"}
    lines = capfd.readouterr().err.splitlines()
    assert lines == [f"ALARM says at step {k}: x is {k}" for k in (100, 2500)]
    assert alarms.format_advice() == ["ALARM       says at step 2500: turn that"]


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ("-xxx-xx", [500, 800]),  # at three validations in a row, or at the last: once for each time that it begins
        ("-xx-xx-", []),  # two in a row: the net learns fast
        ("x------", []),  # in the first tenth a net has not learned yet
        ("---x---", []),
        ("------x", [800]),  # the last validation
    ],
)
def test_failure_in_images_is_reported_if_it_lasts(failures: str, expected: list[int]) -> None:
    rule = ScriptedRule()
    alarms = AlarmMonitor(NoTracker(), {"says": rule})
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=800, color="rgb")
    image = torch.rand(1, 3, 400, 900)
    sizes: set[tuple[int, ...]] = set()
    rule.observe_images = lambda *images: sizes.update(tuple(i.shape[-2:]) for i in images)
    for step, mark in zip((40, *range(300, 900, 100)), failures, strict=True):
        trainer = SimpleNamespace(global_step=step, sanity_checking=False, is_global_zero=True)
        rule.answers = iter([mark if mark == "x" else None])
        alarms.on_validation_batch_end(trainer, module, EvaluationOutput(image[..., ::2, ::2], image, image), None, 0)
        alarms.on_validation_end(trainer, module)
    assert alarms.messages == ({"says": [f"step {step}: x" for step in expected]} if expected else {})
    assert sizes == {(192, 192), (384, 384)}  # the center of a large image


@pytest.mark.parametrize(
    ("validations", "expected"),
    [
        ([60], []),  # a short run, which validates once
        ([20, 40, 60], []),  # in its first 100 steps
        ([300, 600], []),  # the last of two
        ([300, 600, 900], ["step 900: x"]),
    ],
)
def test_short_runs_and_first_validations_raise_no_alarm(validations: list[int], expected: list[str]) -> None:
    alarms = AlarmMonitor(NoTracker(), {"says": ScriptedRule()})
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=validations[-1])
    for step in validations:
        alarms.rules["says"].answers = iter(["x"])
        if step == validations[-1]:  # a resumed run counts on
            state, alarms = alarms.state_dict(), AlarmMonitor(NoTracker(), alarms.rules)
            alarms.load_state_dict(state)
        alarms.on_validation_end(SimpleNamespace(global_step=step, sanity_checking=False, is_global_zero=True), module)
    assert alarms.messages.get("says", []) == expected


@pytest.mark.parametrize("words", [("model=cnn",), ("model=gan",), ("model=gan", "model/adversarial=wgan")])
def test_only_options_that_the_run_has_are_advised_in_one_line(
    words: tuple[str, ...], compose: Any, build: Any
) -> None:
    config = compose(*words)
    options = flatten(config)
    rules = {name: build.build_part(node, name) for name, node in config["model"]["alarm"].items()}
    alarms = AlarmMonitor(NoTracker(), rules, options)
    alarms.messages = {name: ["step 1000000: a failure"] for name in rules}
    lines = alarms.format_advice()
    assert len(lines) == len(rules)
    assert max(map(len, lines)) <= 80
    advised = {name for line in lines for name in re.findall(r"(?:model|trainer)\.[\w.]+", line)}
    assert advised
    assert advised <= set(options)
    assert ("model.adversarial_weight" in advised) == ("model=gan" in words)
    assert ("model.adversarial.saturating" in advised) == (words == ("model=gan",))


def test_a_value_that_is_set_is_not_advised() -> None:
    rule = ScriptedRule()
    rule.advice = ("model.noise=0.05", "lower model.lr", "model/penalty=[r1]")
    for value, expected in (
        (0.05, "lower model.lr, model/penalty=[r1]"),
        (0.1, "model.noise=0.05, lower model.lr, model/penalty=[r1]"),
    ):
        alarms = AlarmMonitor(NoTracker(), {"says": rule}, {"model.noise": value, "model.lr": 1.0})
        alarms.messages = {"says": ["step 5: x"]}
        assert alarms.format_advice() == [f"ALARM       says at step 5: {expected}"]


def test_pixel_shuffle_is_advised_to_a_transposed_convolution_with_an_uneven_kernel() -> None:
    from torch import nn

    rule = Checkerboard()
    for net, expected in (
        (nn.ConvTranspose2d(3, 3, 3, stride=2), True),
        (nn.ConvTranspose2d(3, 3, 4, stride=2), False),
        (nn.PixelShuffle(2), False),
    ):
        rule.start(None, net)
        assert any("pixel shuffle" in text for text in rule.advice) == expected


def test_colors_that_still_improve_have_not_drifted() -> None:
    """ΔE falls from one validation to the next; a failure is reported if it does not."""
    rule, expected = ColorDrift(), []
    hr = 0.5 * torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    for offset in (0.4, 0.2, 0.1, 0.1):
        rule.observe_images(lr, hr + offset * torch.tensor([0.0, 0.0, 1.0])[:, None, None], hr)
        expected.append(rule.verdict() is not None)
    assert expected == [True, False, False, True]
