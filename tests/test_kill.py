"""Runs that are killed at any moment and resumed: weights, points and images equal those of a run that was not killed.

`SR_KILLS` is the number of kills of whole runs of each model. Processes are forked from one that has imported everything,
which saves ten seconds for each; the processes that send to MLflow are forked from the runs.
"""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from test_exact import GAN, find_differences

from sr.record.identity import read_identity
from sr.record.journal_format import JOURNAL_FILE, drop_superseded, list_points, read_entries
from sr.record.machine import MACHINE_METRICS
from sr.track import sender
from sr.track.mlflow_format import convert_metric_name, name_image_files

KILLS = int(os.environ.get("SR_KILLS", "3"))
WORDS = (
    "trainer.accelerator=cpu", "trainer.max_steps=24", "trainer.val_check_interval=5", "checkpoint_steps=2",
    "data=folder", "data.patch=32", "data.repeat=6", "data.batch=4", "model/net=plain", "model.net.width=4",
    "model.schedule.warmup=2",
)  # fmt: skip
LONGEST = 300.0  # seconds that a run may take
# Options without which a run is another one: what a folder must have from its first moment on.
EARLY_WORDS = (
    "trainer.accelerator=cpu", "trainer.max_steps=6", "trainer.val_check_interval=3", "checkpoint_steps=2", "data=folder",
    "data.repeat=6", "data.batch=4", "model/net=plain", "model.net.width=4", "track=journal",
)  # fmt: skip
EARLY_CASES = {
    "augment": ("data/augment=[cutmix,mixup]", "data.patch=32", "model/loss=[l1,fft]"),
    "schedule_free": ("model/optimizer=schedule_free", "model/schedule=constant", "data.patch=32"),
    "patience": ("patience=1", "model.optimizer.lr=0", "model.ema=null", "data.patch=32"),
    "real": ("data/degrade=real", "scale=4", "data.patch=32", "seed=5"),
    "workers": ("data.workers=2", "trainer.precision=bf16-mixed", "data.patch=32"),
    "gan": (*GAN, "data.patch=32"),
}
EARLY_IN_CI = ("gan",)
KILLS_OF_A_CASE = max(1, KILLS // 5)


def child(words: list[str], log: Path) -> None:
    """One run, as it is typed."""
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ.pop("SR_RUNS", None)
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own: loaders end with their run
    sys.argv = ["sr-run", *words]
    import sr.run
    import sr.track.mlflow

    sr.run.prepare_sender = lambda track: None
    sr.track.mlflow.start_sender = ForkedSender
    sr.run.main()


class ForkedSender:
    """What `sr.track.mlflow` uses of a `subprocess.Popen` of the sender: a process of its own that is forked from the run."""

    def __init__(self, folder: Path, uri: str, runs: Path, orphans: list[Path]) -> None:
        (order_end, orders), (answers, answer_end) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(order_end, 0)
            os.dup2(answer_end, 1)
            for end in (order_end, orders, answers, answer_end):
                os.close(end)
            try:
                sender.main()
            finally:
                os._exit(0)
        os.close(order_end)
        os.close(answer_end)
        self.stdin, self.stdout = os.fdopen(orders, "w"), os.fdopen(answers)
        order = {"folder": str(folder), "uri": uri, "runs": str(runs), "orphans": [str(orphan) for orphan in orphans]}
        self.stdin.write(f"{json.dumps(order)}\n")
        self.stdin.flush()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # of one that has ended nothing is left but its exit code

    def communicate(self) -> None:
        os.waitpid(self.pid, 0)
        self.stdin.close()
        self.stdout.close()


@pytest.fixture(scope="module")
def fork() -> Iterator[Any]:
    context = multiprocessing.get_context("forkserver")
    here, path = Path(__file__).parent, os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (here.parent, here)))
    context.set_forkserver_preload(
        ["sr.training.training", "sr.run", "mlflow.store.tracking.sqlalchemy_store", "test_kill"]
    )
    yield context
    os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)


def read_valid_entries(folder: Path) -> dict[Any, Any]:
    """Return every valid point and image. One that is reported again without a rewind, as by a test, must be the same, its
    time as well, so that a tracker has it once."""
    valid: dict[Any, Any] = {}
    for _, _, entry in read_entries(folder / JOURNAL_FILE):
        if "back" in entry:
            valid = {key: value for key, value in valid.items() if key[0] <= entry["back"]}
        points = {name: value for name, value in entry.get("points", {}).items() if not MACHINE_METRICS.fullmatch(name)}
        new = {(entry["step"], name): (value, entry["time"]) for name, value in points.items()}
        new |= {(entry["step"], entry["image"]): ("image", 0)} if "image" in entry else {}
        for key, value in new.items():
            assert valid.setdefault(key, value) == value, f"{key} was reported twice"
    return {key: value for key, (value, _) in valid.items()}


def check_mlflow(folder: Path) -> None:
    """Check that MLflow has each point and image once, and the status."""
    identity = read_identity(folder)
    client = MlflowClient(identity.uri)
    assert client.get_run(identity.run_id).info.status == identity.status == "FINISHED"
    ours: dict[str, list[Any]] = {}
    for name, step, value in list_points(folder):
        ours.setdefault(convert_metric_name(name), []).append((step, value))
    for name, points in ours.items():
        stored = [(p.step, p.value) for p in client.get_metric_history(identity.run_id, name)]
        # Two samples of the system at one step may be equal; of all others each step has one point.
        assert len(stored) == len(points if name.startswith("system/") else set(points)), name
        assert set(stored) == set(points), name
    images = [entry for entry in drop_superseded(read_entries(folder / JOURNAL_FILE)) if "image" in entry]
    drawn = {name for one in images for name in name_image_files(one["image"], one["step"], one["time"])}
    there = [Path(one.path).name for one in client.list_artifacts(identity.run_id, "images")]
    assert sorted(there) == sorted(drawn)


class Runs:
    """One folder of runs, and one command."""

    def __init__(self, fork: Any, where: Path, words: tuple[str, ...]) -> None:
        self.fork, self.where, self.words = fork, where, words
        where.mkdir()

    @property
    def folder(self) -> Path | None:
        """The folder of the run, from the moment on that there is one."""
        found = [path for path in self.where.glob("2*_*") if path.is_dir()]
        assert len(found) <= 1
        return max(found, default=None)

    def list_folders(self) -> dict[Path, int]:
        """Return all folders with the time of their last change, those that are still being made included."""
        times = {}
        for path in self.where.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # it has got its name in the meantime
                times[path] = path.stat().st_mtime_ns
        return times

    def go(self, seconds: float = LONGEST, after_folder: bool = False) -> bool:
        """Start or resume the run, and kill it after so many seconds; return whether it ended before.

        With `after_folder` the time counts from the first change of a folder: a new run's may still be in the making.
        """
        own = [f"paths.runs={self.where}"]
        own += [] if "track=journal" in self.words else [f"track.uri=sqlite:///{self.where.parent}/mlflow.db"]
        words = [f"resume={self.folder}", *own] if self.folder else [*self.words, *own]
        log = self.where.with_suffix(".log")
        process = self.fork.Process(target=child, args=(words, log))
        before = self.list_folders()
        process.start()
        while after_folder and process.is_alive() and self.list_folders() == before:
            time.sleep(0.001)
        process.join(seconds)
        ended = not process.is_alive()
        process.kill()
        process.join()
        assert not ended or process.exitcode == 0, log.read_text()
        return ended


@pytest.mark.long
@pytest.mark.parametrize(("model", "workers"), [("cnn", 2), ("gan", 0)])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    model: str, workers: int, fork: Any, world: Path, tmp_path: Path
) -> None:
    words = (*WORDS, *(GAN if model == "gan" else ()), f"data.workers={workers}", f"data.path={world}/photos")
    whole = Runs(fork, tmp_path / "whole", words)
    Runs(fork, tmp_path / "warm", words).go()
    began = time.monotonic()
    assert whole.go()
    seconds = time.monotonic() - began
    expected = read_valid_entries(whole.folder)
    assert sorted(step for step, name in expected if name == "val/folder x2 edsr/psnr") == [0, 5, 10, 15, 20, 24]

    moment, kills, count = random.Random(f"{model} {workers}"), 0, 0
    while kills < KILLS:
        killed = Runs(fork, tmp_path / f"killed{(count := count + 1)}", words)
        while not killed.go(moment.uniform(0.1, 1.0) * seconds):
            kills += 1
            if kills == KILLS:
                assert killed.go()
                break
        assert find_differences(expected, read_valid_entries(killed.folder)) == []
        check_mlflow(killed.folder)
        for name in ("last.ckpt", "best.ckpt"):
            contents = [torch.load(runs.folder / name, weights_only=True) for runs in (whole, killed)]
            assert find_differences(*contents) == []
    print(f"{kills} kills of {count} runs, of {seconds:.1f} s each")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=getattr(pytest.mark, "slow" if case in EARLY_IN_CI else "long")) for case in EARLY_CASES],
)
def test_a_run_killed_in_its_first_second_is_resumed_as_itself(
    case: str, fork: Any, world: Path, tmp_path: Path
) -> None:
    """Twice in each run: in the first millisecond, and later. The folder alone is named, so its options must be in it."""
    words = (*EARLY_WORDS, *EARLY_CASES[case], f"data.path={world}/photos")
    whole, moment = Runs(fork, tmp_path / "whole", words), random.Random(case)
    assert whole.go()
    expected = read_valid_entries(whole.folder)
    for k in range(KILLS_OF_A_CASE):
        killed = Runs(fork, tmp_path / f"killed{k}", words)
        delays = (0.0, moment.uniform(0.0, 1.0))
        for delay in delays[k % 2 :]:
            killed.go(delay, after_folder=True)
        assert killed.go()
        assert find_differences(expected, read_valid_entries(killed.folder)) == [], delays
        assert read_identity(killed.folder).status == "FINISHED"
        contents = [torch.load(runs.folder / "last.ckpt", weights_only=True) for runs in (whole, killed)]
        assert find_differences(*contents) == []
