"""A training that is broken off and goes on is the one that was never broken off: to the last bit, and to the last point."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from sr.track.none import Nothing

STEPS = 7


class BreakError(Exception):
    """What a kill is to a test that goes on afterwards."""


class Recorder(Nothing):
    """Keeps all points by step and name, and breaks off when it is told of step `at`."""

    known: ClassVar[dict[Path, dict[tuple[int, str], float]]] = {}
    at: ClassVar[int | None] = None

    def start(self, title: str, folder: Path, *_: Any) -> None:
        self._points = self.known.setdefault(folder, {})

    def points(self, values: dict[str, Any], step: int) -> None:
        if self.at is not None and step >= self.at and "train/lr" in values:
            raise BreakError
        for name, value in values.items():
            assert (step, name) not in self._points
            self._points[step, name] = float(value)

    def back(self, step: int) -> None:
        for key in [key for key in self._points if key[0] > step]:
            del self._points[key]


@pytest.fixture
def train(compose: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains, broken off at step `at`; gives the folder."""
    from sr.training import Training

    def command(*words: str, at: int | None = None, folder: Path | None = None) -> Path:
        config = compose(*SMALL, *(() if "data=cifar10" in words else FOLDER), *words, f"paths.runs={tmp_path}/runs")
        if "data=cifar10" not in words:
            config["data"]["path"] = f"{world}/photos"
        config |= {"resume": folder and str(folder), "track": {"_target_": "test_exact.Recorder", "panels": 1}}
        monkeypatch.setattr(Recorder, "at", at)
        training = Training(config, compose.choices, list(words))
        if at is None:
            training.go()
        else:
            with pytest.raises(BreakError):
                training.go()
        return training.folder

    return command


SMALL = (
    "trainer.accelerator=cpu", f"trainer.max_steps={STEPS}", "trainer.val_check_interval=3", "save_steps=1",
    "data.batch=4", "model.net.width=4", "model/net=plain", "track=none",
)  # fmt: skip
FOLDER = ("data=folder", "data.patch=32", "data.repeat=6")  # an epoch is of four batches
GAN = (
    "model=gan", "model/discriminator=patch", "model.discriminator.width=4", "model.warmup_steps=1", "model.weight=1",
    "model.noise=0.1", "model/penalty=[gradient,r1]", "model.penalty.r1.every=2",
)  # fmt: skip


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Where two checkpoints differ, but for the time that they took."""
    if isinstance(one, Tensor):
        return [] if torch.equal(one.nan_to_num(), other.nan_to_num()) else [key]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{key}: {one.keys() ^ other.keys()}"]
        return [
            d
            for k in one
            if k not in ("seconds", "resume", "config")
            for d in differences(one[k], other[k], f"{key}/{k}")
        ]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [key]
        return [d for k, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{key}/{k}")]
    same = one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    return [] if same else [f"{key}: {one} {other}"]


def same(whole: Path, again: Path) -> None:
    assert Recorder.known[whole] == Recorder.known[again]
    contents = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (whole, again)]
    assert differences(*contents) == []
    best = [torch.load(folder / "best.ckpt", weights_only=True)["global_step"] for folder in (whole, again)]
    assert best[0] == best[1]


@pytest.mark.parametrize(
    "words",
    [(), GAN],
    ids=["cnn", "gan"],
)
def test_it_ends_as_if_nothing_had_been(train: Any, words: tuple[str, ...]) -> None:
    whole = train(*words)
    again = train(*words, at=6)
    train(*words, folder=again)
    same(whole, again)
