"""Ctrl-C and SIGTERM, sent to one process or to all processes of a run: checkpoint, message, and time to the end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import wait_for

from sr.callback import interrupt
from sr.lifecycle.run_end import close_on_exit
from sr.record.identity import RUN_FILE, read_identity
from sr.record.journal_format import JOURNAL_FILE
from sr.runtime import signals as signals_module

WORDS = (
    "trainer.accelerator=cpu", "trainer.max_steps=100000", "trainer.val_check_interval=50000", "track=journal",
    "model/net=plain", "model.net.width=4",
)  # fmt: skip


class Run:
    """A training in a process group of its own, as a terminal and SLURM create one."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.log = runs, runs / "log"

    def start(self, *words: str) -> None:
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sr.run", *WORDS, f"paths.runs={self.runs}", *words],
                stdout=out, stderr=out, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        wait_for(lambda: self.count_in_journal(b"train/loss") or self.process.poll() is not None)

    @property
    def folder(self) -> Path:
        return next(self.runs.glob(f"*/{RUN_FILE}")).parent

    def count_in_journal(self, text: bytes) -> int:
        return sum(path.read_bytes().count(text) for path in self.runs.glob(f"*/{JOURNAL_FILE}"))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    yield started
    if started.process.poll() is None:
        os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        pytest.param(signal.SIGINT, "interrupted", id="ctrl-c"),
        pytest.param(signal.SIGTERM, "preempted (SIGTERM)", id="sigterm", marks=pytest.mark.long),
    ],
)
def test_a_signal_that_reaches_the_loaders_as_well_ends_the_run_with_a_checkpoint(
    run: Run, number: int, reason: str
) -> None:
    run.start("data.workers=2")
    os.killpg(run.process.pid, number)
    assert run.process.wait(200) == 130, run.log.read_text()
    identity = read_identity(run.folder)
    assert (identity.status, identity.exit) == ("KILLED", reason)
    assert torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"] > 0
    assert "Traceback" not in run.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "to_all", "reason"),
    [(signal.SIGINT, True, "interrupted"), (signal.SIGTERM, False, "preempted (SIGTERM)")],
    ids=["ctrl-c", "sigterm-to-one"],
)
def test_two_processes_end_after_the_same_step_with_a_checkpoint_to_resume_from(
    run: Run, number: int, to_all: bool, reason: str
) -> None:
    """Ctrl-C reaches both processes, `kill` the first one only."""
    run.start("trainer=ddp", "trainer.devices=2")
    (os.killpg if to_all else os.kill)(run.process.pid, number)
    assert run.process.wait(200) == 130, run.log.read_text()
    identity = read_identity(run.folder)
    assert (identity.status, identity.exit) == ("KILLED", reason)
    step = torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"]
    assert step > 0
    log = run.log.read_text()
    assert ("Traceback" in log, "ended with exit code" in log) == (False, False), log
    run.start(f"resume={run.folder}", f"trainer.max_steps={step + 2}")
    assert run.process.wait(200) == 0, run.log.read_text()
    assert torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"] == step + 2


@pytest.mark.long
def test_a_second_ctrl_c_ends_at_once(run: Run) -> None:
    """While the first one waits for the end of a step, before the run is closed."""
    run.start("trainer.accumulate_grad_batches=1000")  # a step takes many seconds, each batch in it a fraction of one
    os.killpg(run.process.pid, signal.SIGINT)
    message = "the run ends after this step, with a checkpoint; a second signal ends it at once"
    wait_for(lambda: message in run.log.read_text())
    time.sleep(signals_module.ECHO_SECONDS + 0.2)
    assert run.process.poll() is None, run.log.read_text()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(100) == 130
    assert run.count_in_journal(b'"status"') == 0


class ProcessExitError(BaseException):
    """Replaces `os._exit`: nothing runs after it."""


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> signals_module.SignalHandler:
    def exit_process(code: int) -> None:
        raise ProcessExitError(code)

    monkeypatch.setattr(signals_module, "ECHO_SECONDS", 0.0)
    monkeypatch.setattr(signals_module.os, "_exit", exit_process)
    return signals_module.signals


def test_a_second_signal_ends_at_once_in_every_phase(signals: signals_module.SignalHandler) -> None:
    """While the first is deferred, while the run ends, and while its results are written."""
    with pytest.raises(ProcessExitError, match="130"), signals.handle():
        signals.defer()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(ProcessExitError, match="143"), signals.handle():
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_requested()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Lightning does
        interrupt.InterruptHandler().on_exception()
        signal.raise_signal(signal.SIGTERM)

    def close(status: str, reason: str | None) -> None:
        ended.append((status, reason))
        signal.raise_signal(signal.SIGINT)

    ended: list[Any] = []
    with pytest.raises(ProcessExitError, match="130"), close_on_exit(close):
        signal.raise_signal(signal.SIGINT)
    with close_on_exit(close):
        pass  # a first signal while the results are written changes nothing
    assert ended == [("KILLED", "interrupted"), ("FINISHED", None)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_that_follows_a_signal_is_no_failure(
    signals: signals_module.SignalHandler, capsys: pytest.CaptureFixture
) -> None:
    """It is printed all the same. Without a signal, the run has failed."""
    ended: list[Any] = []
    with pytest.raises(KeyboardInterrupt), close_on_exit(lambda *arguments: ended.append(arguments)):
        signals.defer()
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed by signal")
    assert "RuntimeError: DataLoader worker is killed by signal" in capsys.readouterr().err
    with pytest.raises(RuntimeError), close_on_exit(lambda *arguments: ended.append(arguments)):
        raise RuntimeError("DataLoader worker is killed by signal")
    assert ended == [
        ("KILLED", "preempted (SIGTERM)"), ("FAILED", "RuntimeError: DataLoader worker is killed by signal"),
    ]  # fmt: skip


def test_a_signal_at_the_very_end_of_training_interrupts_it(signals: signals_module.SignalHandler) -> None:
    with signals.handle():
        signals.defer()
        signals.raise_if_requested()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signals.stop_deferring()


def test_a_signal_that_several_processes_share_waits_until_all_know_it(signals: signals_module.SignalHandler) -> None:
    with signals.handle():
        signals.defer(is_shared=True)
        signals.share_request(False)
        signal.raise_signal(signal.SIGINT)
        signals.raise_if_requested()  # the others do not know it yet, and would wait for this process
        signals.share_request(True)
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_requested()


def test_the_signal_of_another_process_ends_this_one(
    signals: signals_module.SignalHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals_module, "ECHO_SECONDS", 60.0)
    with signals.handle():
        signals.defer(is_shared=True)
        signals.share_request(True)
        signal.raise_signal(signal.SIGINT)  # the same Ctrl-C, a moment later here: not a second one
        with pytest.raises(KeyboardInterrupt):
            signals.raise_if_requested()


def load_forever(ready: Any) -> None:
    signals_module.ignore_signals()
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not report the sender of a signal")
def test_only_its_parent_ends_a_loader() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    loader = context.Process(target=load_forever, args=(ready,), daemon=True)
    loader.start()
    assert ready.wait(20)
    for name in ("INT", "TERM"):
        subprocess.run(["kill", f"-{name}", str(loader.pid)], check=True)  # a signal from another process
    loader.join(0.3)
    assert loader.is_alive()
    loader.terminate()
    loader.join(20)
    assert loader.exitcode == 0
