"""A training that is interrupted and resumed equals an uninterrupted one: in every bit of its files and in every point."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from sr.record.machine import MACHINE_METRICS
from sr.track.none import NoTracker

SMALL = (
    "trainer.accelerator=cpu", "trainer.max_steps=7", "trainer.val_check_interval=3", "checkpoint_steps=1", "data.batch=4",
    "model/net=plain", "model.net.width=4",
)  # fmt: skip
FOLDER = ("data=folder", "data.patch=32", "data.repeat=6")  # an epoch is of four batches, or of two steps of two
WARM = ("model.schedule.warmup=2",)
GAN = (
    "model=gan", "model/discriminator=patch", "model.discriminator.width=4", "model.discriminator.norm=none",
    "model.warmup_steps=1", "model.adversarial_weight=1", "model.instance_noise=0.1", "model/penalty=[gradient,r1]",
    "model.penalty.r1.interval=2",
)  # fmt: skip
REAL = ("data/degrade=real", "scale=4", "data.patch=32")
CASES = {
    "cnn": WARM,
    "gan": (*GAN, *WARM),
    "cnn_accumulated": ("trainer.accumulate_grad_batches=2", *WARM),
    "gan_accumulated": (*GAN, *WARM, "trainer.accumulate_grad_batches=2", "model.d_steps=2"),
    "cnn_workers": ("data.workers=2", *WARM),
    "gan_workers": (*GAN, *WARM, "data.workers=2"),
    "cnn_real": (*REAL, *WARM),
    "gan_real": (*GAN, *REAL, *WARM),
    "schedule_free": ("model/optimizer=schedule_free", "model/schedule=constant", "model.optimizer.warmup_steps=2"),
    "augment": ("data=cifar10", "data.batch=16", "data/augment=[cutblur,cutmix,mixup]", *WARM),
    "one_cycle": ("model/schedule=one_cycle", "model/optimizer=adamw"),
    "relativistic": (
        *GAN[:1], "model/discriminator=unet_small", "model.discriminator.width=4", "model/adversarial=relativistic",
        "model.warmup_steps=1", "model.instance_noise=0.1", *WARM,
    ),
    "shares": ("model/loss=[l1,fft]", "model.gradient_share_interval=2", *WARM),
    "bf16": ("trainer.precision=bf16-mixed", *WARM),
    "no_average": ("model.ema=null", *WARM),
    "alarms": (*GAN, *WARM, "model/alarm=[d_wins,g_wins,color_drift]", "model.alarm.g_wins.window=3", "model.alarm.g_wins.gap=1"),
}  # fmt: skip


class BreakError(Exception):
    """Ends a training in the middle, as a kill does."""


class Recorder(NoTracker):
    """Records every point and the last value of each tag; raises at step `at` if a point has this name."""

    known: ClassVar[dict[Path, dict[Any, Any]]] = {}
    at: ClassVar[tuple[int, str] | None] = None

    def start(self, title: str, folder: Path, *_: Any) -> None:
        self._records = self.known.setdefault(folder, {})

    def log_points(self, values: dict[str, Any], step: int) -> None:
        if self.at is not None and step == self.at[0] and any(name.startswith(self.at[1]) for name in values):
            raise BreakError
        for name, value in values.items():
            if MACHINE_METRICS.fullmatch(name):
                continue  # differs from run to run
            assert (step, name) not in self._records, "reported twice"
            self._records[step, name] = float(value)

    def set_tag(self, key: str, value: str) -> None:
        if key.startswith("sr.alarm"):
            self._records[-2, key] = value

    def rewind(self, step: int) -> None:
        for key in [key for key in self._records if key[0] > step]:
            del self._records[key]


@pytest.fixture(scope="module")
def known_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, ...], Path]]:
    """Return a folder, and the uninterrupted runs in it by their words."""
    return tmp_path_factory.mktemp("whole"), {}


@pytest.fixture
def train_once(train: Callable[..., Path], known_runs: tuple[Path, dict[tuple[str, ...], Path]]) -> Callable[..., Path]:
    """Return a function that trains without an interruption, or returns the run of these words of an earlier test."""
    folder, known = known_runs

    def command(*words: str) -> Path:
        if words not in known:
            known[words] = train(*words, f"paths.runs={folder}")
        return known[words]

    return command


@pytest.fixture
def train(compose: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that trains until step `at` reports a point of this name, or resumes the run in `folder`."""
    from sr.training.training import Training

    def command(*words: str, at: tuple[int, str] | None = None, folder: Path | None = None) -> Path:
        data = () if "data=cifar10" in words else (*FOLDER, f"data.path={world}/photos")
        config = compose(*SMALL, *data, f"paths.runs={tmp_path}/runs", "track=none", *words)
        config |= {"resume": folder and str(folder), "track": {"_target_": "test_exact.Recorder"}}
        monkeypatch.setattr(Recorder, "at", at)
        training = Training(config, compose.choices, list(words))
        if at is None:
            training.run()
        else:
            with pytest.raises(BreakError):
                training.run()
        return training.folder

    return command


def find_differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Return the keys in which two checkpoints differ, except times and configs."""
    if isinstance(one, Tensor):
        return [] if torch.equal(one.nan_to_num(), other.nan_to_num()) else [key]
    if isinstance(one, dict):
        keys = [name for name in {**one, **other} if name not in ("seconds", "config")]
        missing = [f"{key}/{name}" for name in keys if name not in one or name not in other]
        return missing or [d for name in keys for d in find_differences(one[name], other[name], f"{key}/{name}")]
    if isinstance(one, list | tuple) and len(one) == len(other):
        return [d for k, pair in enumerate(zip(one, other, strict=True)) for d in find_differences(*pair, f"{key}/{k}")]
    same = one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    return [] if same else [f"{key}: {one} {other}"]


def assert_equal(whole: Path, again: Path) -> None:
    """Check that all points, and all that is in the files, are equal."""
    assert find_differences(Recorder.known[whole], Recorder.known[again]) == []
    for name in ("last.ckpt", "best.ckpt"):
        contents = [torch.load(folder / name, weights_only=True) for folder in (whole, again)]
        assert find_differences(*contents) == []


def break_at(case: str, *breaks: tuple[int, str]) -> Any:
    return pytest.param(CASES[case], breaks, id="-".join([case, *(f"{n}{k[:1]}" for n, k in breaks)]))


# After one step, a validation, an epoch and in the middle of the second; of most cases the first and the last of them.
ALL = ((2, "train"), (4, "train"), (5, "train"), (6, "val"), (7, "train"))
TWO = ((2, "train"), (6, "val"))
MAIN = ("cnn", "gan", "gan_accumulated")
LONG = (
    "cnn_accumulated",
    "cnn_real",
    "cnn_workers",
    "gan_accumulated",
    "gan_workers",
    "no_average",
    "shares",
    "bf16",
)  # left out of CI
SINGLE = ((0, "val"), (1, "train"), (3, "val"), (4, "train"), (7, "val"), (7, "test"))


def mark_case(case: str) -> pytest.MarkDecorator:
    return pytest.mark.long if case in LONG else pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "breaks"),
    [
        break_at("cnn", (5, "train")),
        break_at("gan", (6, "train")),
        break_at("schedule_free", (3, "train")),
        *(
            pytest.param(*break_at(case, *(ALL if case in MAIN else TWO)).values, id=case, marks=mark_case(case))
            for case in CASES
        ),
        *(
            pytest.param(*break_at(case, at).values, id=f"{case}-{at[0]}{at[1][0]}", marks=pytest.mark.long)
            for case in MAIN[1:]
            for at in SINGLE
        ),
    ],
)
def test_resumed_training_equals_an_uninterrupted_one(
    train: Any, train_once: Any, words: tuple[str, ...], breaks: tuple[tuple[int, str], ...]
) -> None:
    """It is interrupted once or several times, with a checkpoint after each step."""
    whole, again = train_once(*words), None
    for at in breaks:
        again = train(*words, at=at, folder=again)
    assert_equal(whole, train(*words, folder=again))


@pytest.mark.parametrize(
    ("case", "interval"),
    [
        ("schedule_free", 3),
        ("gan", 4),  # an epoch: its end, and the start of the next, draw nothing from the RNG of the instance noise
        *(pytest.param(case, 3, marks=pytest.mark.slow) for case in ("cnn", "gan", "alarms")),
        pytest.param("gan_workers", 4, marks=pytest.mark.long),
    ],
)
def test_interval_of_checkpoints_does_not_change_the_result(
    train: Any, train_once: Any, case: str, interval: int
) -> None:
    """A run with a checkpoint after each step equals one with checkpoints at its validations only."""
    words = CASES[case] if interval == 3 else (*CASES[case], f"trainer.val_check_interval={interval}")
    often = train_once(*words)
    seldom = train(*words, "checkpoint_steps=null", at=(5, "train"))
    assert torch.load(seldom / "last.ckpt", weights_only=True)["global_step"] == interval
    assert_equal(often, train(*words, "checkpoint_steps=null", folder=seldom))
