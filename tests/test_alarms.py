"""The callback that evaluates alarm rules: which failures it reports, when, and how often."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sr.alarm.color_drift import ColorDrift
from sr.alarm.rule import Rule
from sr.callback.alarms import AlarmMonitor
from sr.model.evaluation import EvaluationOutput
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

    advice, signals = "turn that", ("train/x",)

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
    assert lines == [f"ALARM says at step {k}: x is {k}; turn that" for k in (100, 2500)]


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
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=800)
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


def test_colors_that_still_improve_have_not_drifted() -> None:
    """ΔE falls from one validation to the next; a failure is reported if it does not."""
    rule, expected = ColorDrift(), []
    hr = 0.5 * torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    for offset in (0.4, 0.2, 0.1, 0.1):
        rule.observe_images(lr, hr + offset * torch.tensor([0.0, 0.0, 1.0])[:, None, None], hr)
        expected.append(rule.verdict() is not None)
    assert expected == [True, False, False, True]
