"""Pools: where the trials of a sweep run, that they run as the command alone would, and that nothing of them is left."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from sr.config.build import build_part
from sr.record import trial
from sr.record.trial import ANSWERS_FILE, LineFile, TrialChannel
from sr.sweep import channel
from sr.sweep.channel import Channel, beat
from sr.sweep.pool import gpu, process
from sr.sweep.pool.pool import Task, TrialJob, read_reason
from sr.sweep.pool.process import ProcessPool

# A trial that writes what it finds, and then does what its word says.
PROGRAM = """
import json, os, signal, sys, threading, time
report = {"argv": sys.argv[1:], "threads": os.environ["OMP_NUM_THREADS"], "name": os.environ["SR_SWEEP"], "file": __name__,
          "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "stdin": sys.stdin.read(), "pid": os.getpid(),
          "signals": [signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
                      signal.getsignal(signal.SIGINT) is signal.default_int_handler]}
print(json.dumps(report), flush=True)
print("to stderr", file=sys.stderr)
if "wait" in sys.argv:
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        sys.exit(130)
if "crash" in sys.argv:
    os.kill(os.getpid(), signal.SIGSEGV)
sys.exit(2 if "fail" in sys.argv else None)
"""


@pytest.fixture(params=[True, False], ids=["fork server", "command"])
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPool]:
    """A pool of two jobs, whose fork server imports nothing."""
    monkeypatch.setattr(process, "PRELOAD", [])
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield ProcessPool(2, is_on_gpu=False, fork_server=request.param)
    forkserver._forkserver._stop()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def make_task(program: Path, *words: str) -> Task:
    return Task([str(program), *words], program.with_suffix(".log"), {"SR_SWEEP": "mine"})


def wait(job: TrialJob, seconds: float = 20.0) -> int:
    deadline = time.monotonic() + seconds
    while not job.has_ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert job.has_ended
    return job.exit_code


def read_report(program: Path) -> dict:
    log, deadline = program.with_suffix(".log"), time.monotonic() + 20
    while not (log.exists() and "\n" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return json.loads(log.read_text().splitlines()[0])


def test_a_trial_runs_as_its_command_would(pool: ProcessPool, program: Path) -> None:
    assert wait(pool.start(make_task(program, "x=1"))) == 0
    report = read_report(program)
    assert report.pop("pid") != os.getpid()
    assert report == {
        "argv": ["x=1"], "threads": "3", "name": "mine", "file": "__main__", "gpu": None, "stdin": "",
        "signals": [True, True],
    }  # fmt: skip
    assert program.with_suffix(".log").read_text().splitlines()[1:] == ["to stderr"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert "SR_SWEEP" not in os.environ


def test_the_threads_that_the_user_has_set_are_taken(
    pool: ProcessPool, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pool.is_forking:
        forkserver._forkserver._stop()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    wait(pool.start(make_task(program)))
    assert read_report(program)["threads"] == "5"


def test_each_end_has_its_exit_code(pool: ProcessPool, program: Path) -> None:
    assert wait(pool.start(make_task(program, "fail"))) == 2
    assert wait(pool.start(make_task(program, "crash"))) == -signal.SIGSEGV
    killed = pool.start(make_task(program, "wait"))
    read_report(program)
    killed.kill()
    assert wait(killed) == -signal.SIGKILL


def test_the_reason_of_a_failure_is_the_last_error_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_reason(7, log) == "exit code 7"
    log.write_text("step 1\nerror: scale=5: expected 2\n\nbye\n")
    assert read_reason(2, log) == "scale=5: expected 2"
    assert read_reason(-9, log) == "ended by signal 9 (out of memory?)"
    assert read_reason(-11, log) == "ended by signal 11"


@pytest.mark.group("sweep/pool")
def test_every_pool_is_built_from_its_file(choice: str, compose: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ProcessPool", lambda **options: options)
    node = compose(f"sweep/pool={choice}")["sweep"]["pool"]
    assert build_part(node, "sweep.pool", jobs=2, is_on_gpu=False) == {
        "jobs": 2,
        "is_on_gpu": False,
        "fork_server": True,
    }


# GPUs.


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "auto", "devices": 1}, True),
        ({"accelerator": "gpu", "devices": 1}, True),
        ({"accelerator": "cpu", "devices": 1}, False),
        ({"accelerator": "gpu", "devices": 2}, False),
        ({"accelerator": "gpu", "devices": [1]}, False),  # the user has chosen
    ],
)
def test_trials_that_take_one_gpu_share_them(trainer: dict, expected: bool) -> None:
    assert gpu.uses_one_gpu(trainer) == expected


def test_gpus_are_counted_or_those_that_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_count_gpus", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.list_gpus() == ["0", "1", "2"]
    for value, expected in (("2,0", ["2", "0"]), ("GPU-8f2a", ["GPU-8f2a"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert gpu.list_gpus() == expected


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert gpu._count_gpus() == 0


def test_each_job_has_a_gpu_and_a_free_one_is_taken_first(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_count_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pool = ProcessPool(3, is_on_gpu=True, fork_server=False)
    jobs, gpus = [], []

    def start() -> None:
        program.with_suffix(".log").unlink(missing_ok=True)
        jobs.append(pool.start(make_task(program, "wait")))
        gpus.append(read_report(program)["gpu"])

    for _ in range(3):
        start()
    jobs[1].kill()
    wait(jobs[1])
    start()
    for job in jobs:
        job.kill()
        wait(job)
    assert gpus == ["0", "1", "0", "1"]
    assert ProcessPool(1, is_on_gpu=True, fork_server=False).gpus == []  # one job sees all, as the command alone does


# The channel between a trial and its sweep.


def test_a_line_is_read_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "lines")
    with pytest.raises(FileNotFoundError):
        file.read_new()
    LineFile(tmp_path / "lines").append(folder="ä")
    with (tmp_path / "lines").open("a") as half:
        half.write('{"step": 1')
    assert file.read_new() == [{"folder": "ä"}]
    assert file.read_new() == []
    with (tmp_path / "lines").open("a") as half:
        half.write("2}\n")
    assert file.read_new() == [{"step": 12}]


def test_a_trial_waits_for_the_answer_to_its_value(tmp_path: Path) -> None:
    ours = Channel.create(tmp_path, 7)
    theirs = TrialChannel(ours.folder)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.extend(theirs.ask(step=step, value=0.5) for step in (1, 2)))
    thread.start()
    for prune in (False, True):
        while not (messages := ours.receive()):
            time.sleep(0.005)
        assert messages == [{"step": len(answers) + 1, "value": 0.5}]
        ours.answer(prune)
        while len(answers) < 1:
            time.sleep(0.005)
    thread.join(10)
    assert answers == [False, True]
    assert [former.number for former in Channel.list_former(tmp_path)] == [7]


def watch(theirs: TrialChannel, monkeypatch: pytest.MonkeyPatch, **options: float) -> tuple[threading.Thread, list]:
    """Watch a channel in a thread; return it, and a list with one entry once the run has been interrupted."""
    interruptions: list[bool] = []
    monkeypatch.setattr(trial, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(trial._thread, "interrupt_main", lambda: interruptions.append(True))
    thread = threading.Thread(target=theirs.watch, kwargs=options, daemon=True)
    thread.start()
    return thread, interruptions


@pytest.mark.parametrize("end", ["interrupt", "remove"])
def test_a_trial_is_interrupted_when_its_sweep_asks_for_it_or_has_removed_its_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    ours = Channel.create(tmp_path, 0)
    ours.answer(False)  # which is for `ask`
    thread, interruptions = watch(TrialChannel(ours.folder), monkeypatch)
    thread.join(0.1)
    assert interruptions == []
    getattr(ours, end)()
    thread.join(10)
    assert interruptions == [True]


def test_a_trial_is_interrupted_when_the_heartbeat_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HEARTBEAT_SECONDS", 0.02)
    ours = Channel.create(tmp_path, 0)
    with beat(tmp_path):
        thread, interruptions = watch(TrialChannel(ours.folder), monkeypatch, max_silence=0.4)
        thread.join(0.8)
        assert interruptions == []  # the sweep lives
    thread.join(10)
    assert interruptions == [True]
    assert (ours.folder / ANSWERS_FILE).exists()


def test_a_trial_that_a_signal_ends_already_is_not_interrupted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second signal would end it at once, without a checkpoint."""
    monkeypatch.setattr(trial.signals, "received", signal.SIGINT)
    theirs = TrialChannel(tmp_path / "missing")
    thread, interruptions = watch(theirs, monkeypatch)
    thread.join(10)
    assert not thread.is_alive()
    assert interruptions == []
    assert theirs.ask(step=1, value=0.5) is False  # and it does not wait
