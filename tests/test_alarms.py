"""The callback that asks the rules: what is told of, when, and how often."""

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


class Says(Rule):
    """Says what it is told to."""

    advice, signals = "turn that", ("train/x",)

    def __init__(self) -> None:
        self.answers: Iterator[str | None] = iter(())

    def observe_step(self, step: int, signals: Any) -> str | None:
        return f"x is {signals['train/x']:.0f}" if signals.get("train/x", 0) > 0 else None

    def verdict(self) -> str | None:
        return next(self.answers, None)


def test_a_failure_of_the_game_is_told_of_once_until_it_has_long_been_gone(capfd: pytest.CaptureFixture) -> None:
    track = Tags()
    alarms = AlarmMonitor(track, {"says": Says()})
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=9000)
    for step in range(1, 2601):
        bad = 100 <= step <= 300 or step in (400, 2500)  # 400: it comes and goes; 2500: it is back
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
    ("found", "told"),
    [
        ("-xxx-xx", [500, 800]),  # at three validations in a row, or the last: once for each time that it comes
        ("-xx-xx-", []),  # learning fast
        ("x------", []),  # in the first tenth a net has not learned yet
        ("---x---", []),
        ("------x", [800]),  # nobody can look again
    ],
)
def test_a_failure_in_pictures_is_told_of_when_it_lasts(found: str, told: list[int]) -> None:
    rule = Says()
    alarms = AlarmMonitor(NoTracker(), {"says": rule})
    module = SimpleNamespace(signals={}, may_become_best=True, total_steps=800)
    image = torch.rand(1, 3, 400, 900)
    sizes: set[tuple[int, ...]] = set()
    rule.observe_images = lambda *images: sizes.update(tuple(i.shape[-2:]) for i in images)
    for step, mark in zip((40, *range(300, 900, 100)), found, strict=True):
        trainer = SimpleNamespace(global_step=step, sanity_checking=False, is_global_zero=True)
        rule.answers = iter([mark if mark == "x" else None])
        alarms.on_validation_batch_end(trainer, module, EvaluationOutput(image[..., ::2, ::2], image, image), None, 0)
        alarms.on_validation_end(trainer, module)
    assert alarms.messages == ({"says": [f"step {step}: x" for step in told]} if told else {})
    assert sizes == {(192, 192), (384, 384)}  # the middle is enough


def test_colours_that_are_still_being_learned_have_not_drifted() -> None:
    """ΔE falls from one validation to the next; where it stays, it is told of."""
    rule, told = ColorDrift(), []
    hr = 0.5 * torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    for offset in (0.4, 0.2, 0.1, 0.1):
        rule.observe_images(lr, hr + offset * torch.tensor([0.0, 0.0, 1.0])[:, None, None], hr)
        told.append(rule.verdict() is not None)
    assert told == [True, False, False, True]
