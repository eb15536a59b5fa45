"""`sr.benchmark.turns`: trainings that take turns, and one that fails."""

import os
import signal
import threading
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from sr.benchmark import turns
from sr.benchmark.turns import EndlessTraining, Turn, compute_rate, measure_rates
from sr.runtime.error import UserError

# A module that "trains" a step in as many seconds as its second argument says, and writes when it ended.
TRAINING = """
import sys, time
assert sys.stdin.read() == "description"
with open(sys.argv[1], "a") as times:
    while True:
        begin = time.process_time()
        while time.process_time() - begin < float(sys.argv[2]):
            pass
        print(time.time(), file=times, flush=True)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "made_up_training.py").write_text(TRAINING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.3)
    monkeypatch.setattr(turns, "WARM_UP_SECONDS", 0.2)
    return tmp_path


def describe_training(folder: Path, step_seconds: float) -> EndlessTraining:
    file = folder / f"times_{step_seconds}"

    def read_times() -> list[float]:
        return [float(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []

    return EndlessTraining(["made_up_training", str(file), str(step_seconds)], "description", read_times)


def test_each_training_works_alone_and_its_own_time_counts(modules: Path) -> None:
    trainings = [describe_training(modules, seconds) for seconds in (0.01, 0.02)]
    rates = measure_rates(trainings, 1.5, 1, "perf")
    assert rates[0] > 1.2 * rates[1] > 0
    fast, slow = (training.read_times() for training in trainings)
    common = [t for t in fast if slow[0] < t < slow[-1]]
    changes = sum(any(a < t < b for t in slow) for a, b in pairwise(common))
    assert 3 <= changes <= 8  # five turns each: between two steps in a row of one, the other one has worked only then


def test_rate_counts_the_own_turns_from_step_to_step() -> None:
    """A step of 0.4 s that begins in the first turn and ends in the second one, as all others, takes 0.4 s of them."""
    turns = [Turn(10, 11), Turn(12, 13)]
    times = [9.9, 10.3, 10.7, 12.1, 12.5, 12.9, 13.3]
    assert compute_rate(times, turns) == pytest.approx(1 / 0.4)
    with pytest.raises(UserError, match=r"seconds: .*\(found 2 steps\)"):
        compute_rate(times[:3], turns)


def test_training_that_fails_is_named_with_its_message(modules: Path) -> None:
    good, bad = describe_training(modules, 0.01), describe_training(modules, 0.02)
    with pytest.raises(UserError, match=r"(?s)parts=\[perf\]: made_up_training .*has failed: .*could not convert"):
        measure_rates([good, bad._replace(words=[*bad.words[:2], "soon"])], 0.3, 1, "perf")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_no_training_behind(modules: Path, number: signal.Signals) -> None:
    trainings = [describe_training(modules, seconds) for seconds in (0.01, 0.02)]
    before = set(psutil.Process().children(recursive=True))
    timer = threading.Timer(2, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        measure_rates(trainings, 60, 1, "perf")
    timer.join()
    assert set(psutil.Process().children(recursive=True)) <= before
