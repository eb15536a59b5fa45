"""Ctrl-C and SIGTERM, to one process and to all of a run: what is kept, what is said, and how fast it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sr.callback import interrupt
from sr.lifecycle.run_end import close_on_exit
from sr.record.identity import RUN_FILE, read_identity
from sr.record.journal_format import JOURNAL_FILE
from sr.runtime import signals as polite

WORDS = (
    "trainer.accelerator=cpu", "trainer.max_steps=100000", "trainer.val_check_interval=50000", "track=journal",
    "model/net=plain", "model.net.width=4",
)  # fmt: skip


def wait_for(happened: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Run:
    """A process group of its own, as a terminal and SLURM make one."""

    def __init__(self, where: Path) -> None:
        self.where, self.log = where, where / "log"

    def start(self, *words: str) -> None:
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sr.run", *WORDS, f"paths.runs={self.where}", *words],
                stdout=out, stderr=out, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        wait_for(lambda: self.told(b"train/loss") or self.process.poll() is not None, 200)

    @property
    def folder(self) -> Path:
        return next(self.where.glob(f"*/{RUN_FILE}")).parent

    def told(self, what: bytes) -> int:
        return sum(path.read_bytes().count(what) for path in self.where.glob(f"*/{JOURNAL_FILE}"))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    found = Run(tmp_path)
    yield found
    if found.process.poll() is None:
        os.killpg(found.process.pid, signal.SIGKILL)
        found.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "preempted (SIGTERM)")],
    ids=["ctrl-c", "sigterm"],
)
def test_what_comes_to_the_loaders_as_well_ends_with_a_checkpoint(run: Run, number: int, why: str) -> None:
    run.start("data.workers=2")
    os.killpg(run.process.pid, number)
    assert run.process.wait(60) == 130, run.log.read_text()
    known = read_identity(run.folder)
    assert (known.status, known.exit) == ("KILLED", why)
    assert torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"] > 0
    assert "Traceback" not in run.log.read_text()


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(run: Run) -> None:
    """While the first one waits for the end of a step, before the run is torn down and written down."""
    run.start("trainer.accumulate_grad_batches=1000")  # a step takes many seconds, what happens in it none
    os.killpg(run.process.pid, signal.SIGINT)
    wait_for(lambda: "it ends after this step, with a checkpoint; once more: at once" in run.log.read_text(), 5)
    time.sleep(polite.ECHO + 0.2)
    assert run.process.poll() is None, run.log.read_text()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(2) == 130
    assert run.told(b'"status"') == 0


class AtOnce(BaseException):
    """Stands for the end of the process, after which nothing is done."""


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> polite.Signals:
    def end(code: int) -> None:
        raise AtOnce(code)

    monkeypatch.setattr(polite, "ECHO", 0.0)
    monkeypatch.setattr(polite.os, "_exit", end)
    return polite.signals


def test_a_second_signal_ends_at_once_in_every_phase(signals: polite.Signals) -> None:
    """While the first is noted, while the run is torn down, and while it is written down."""
    with pytest.raises(AtOnce, match="130"), signals.handle():
        signals.defer()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(AtOnce, match="143"), signals.handle():
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_requested()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Lightning does
        interrupt.InterruptHandler().on_exception()
        signal.raise_signal(signal.SIGTERM)

    def close(status: str, why: str | None) -> None:
        ended.append((status, why))
        signal.raise_signal(signal.SIGINT)

    ended: list[Any] = []
    with pytest.raises(AtOnce, match="130"), close_on_exit(close):
        signal.raise_signal(signal.SIGINT)
    with close_on_exit(close):
        pass  # the first one while it is written down changes nothing
    assert ended == [("KILLED", "interrupted"), ("FINISHED", None)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_follows_a_signal_is_no_failure(signals: polite.Signals, capsys: pytest.CaptureFixture) -> None:
    """It is told all the same. Without a signal it is one."""
    ended: list[Any] = []
    with pytest.raises(KeyboardInterrupt), close_on_exit(lambda *how: ended.append(how)):
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed by signal")
    assert "RuntimeError: DataLoader worker is killed by signal" in capsys.readouterr().err
    with pytest.raises(RuntimeError), close_on_exit(lambda *how: ended.append(how)):
        raise RuntimeError("DataLoader worker is killed by signal")
    assert ended == [
        ("KILLED", "preempted (SIGTERM)"), ("FAILED", "RuntimeError: DataLoader worker is killed by signal"),
    ]  # fmt: skip


def test_a_signal_at_the_very_end_of_training_is_obeyed(signals: polite.Signals) -> None:
    with signals.handle():
        signals.defer()
        signals.raise_if_requested()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.stop_deferring()


def _loader(ready: Any) -> None:
    polite.ignore_signals()
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="nobody tells here who has sent a signal")
def test_a_loader_is_ended_by_its_parent_alone() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    loader = context.Process(target=_loader, args=(ready,), daemon=True)
    loader.start()
    assert ready.wait(20)
    for name in ("INT", "TERM"):
        subprocess.run(["kill", f"-{name}", str(loader.pid)], check=True)  # another process's signal
    loader.join(0.3)
    assert loader.is_alive()
    loader.terminate()
    loader.join(20)
    assert loader.exitcode == 0
