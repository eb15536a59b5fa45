"""Pools: where the trials of a sweep run, that they run as the command alone would, and that nothing of them is left."""

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from sr.config.build import build_part
from sr.record import trial
from sr.record.identity import Identity, list_runs, read_identity, write_identity
from sr.record.result import SUMMARY_FILE, TrainingResult
from sr.record.trial import ANSWERS_FILE, CHANNEL_VARIABLE, MESSAGES_FILE, LineFile, TrialChannel
from sr.runtime.error import UserError
from sr.runtime.launch import find_free_port
from sr.sweep import channel, scheduler
from sr.sweep.channel import Channel, send_heartbeats
from sr.sweep.pool import gpu, process, submitit
from sr.sweep.pool.pool import Pool, Task, TrialJob, read_reason
from sr.sweep.pool.process import ProcessPool
from sr.sweep.pool.ray import RayPool
from sr.sweep.scheduler import Scheduler
from sr.sweep.space import Values
from sr.sweep.study import REASON, Study

# A trial that writes what it finds, and then does what its word says.
PROGRAM = """
import json, multiprocessing, os, signal, sys, time
report = {"argv": sys.argv[1:], "threads": os.environ.get("OMP_NUM_THREADS"), "name": os.environ["SR_SWEEP"],
          "file": __name__, "start": multiprocessing.get_start_method(),
          "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "stdin": sys.stdin.read(), "pid": os.getpid(), "cwd": os.getcwd(),
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
    monkeypatch.setattr(process, "count_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield ProcessPool(2, gpus_per_trial=0, fork_server=request.param)
    forkserver._forkserver._stop()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def make_task(program: Path, *words: str) -> Task:
    return Task([str(program), *words], program.with_suffix(".log"), {"SR_SWEEP": "mine"})


def wait(job: TrialJob, seconds: float = 100.0) -> int:
    deadline = time.monotonic() + seconds
    while not job.has_ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert job.has_ended
    return job.exit_code


def read_report(program: Path) -> dict:
    log, deadline = program.with_suffix(".log"), time.monotonic() + 100
    while not (log.exists() and "\n" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return json.loads(log.read_text().splitlines()[0])


def test_a_trial_runs_as_its_command_would(pool: ProcessPool, program: Path) -> None:
    assert wait(pool.start(make_task(program, "x=1"))) == 0
    report = read_report(program)
    assert report.pop("pid") != os.getpid()
    assert report == {
        "argv": ["x=1"], "threads": "3", "name": "mine", "file": "__main__", "gpu": None, "stdin": "",
        "start": multiprocessing.get_start_method(), "cwd": str(Path.cwd()),
        "signals": [True, True],
    }  # fmt: skip
    assert program.with_suffix(".log").read_text().splitlines()[1:] == ["to stderr"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert "SR_SWEEP" not in os.environ


def test_one_job_has_the_threads_of_its_command(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    wait(ProcessPool(1, gpus_per_trial=0, fork_server=False).start(make_task(program)))
    assert read_report(program)["threads"] is None


def test_the_threads_that_the_user_has_set_are_taken(
    pool: ProcessPool, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pool.is_forking:
        forkserver._forkserver._stop()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    wait(pool.start(make_task(program)))
    assert read_report(program)["threads"] == "5"


def test_a_trial_has_the_folder_and_the_variables_of_now(
    pool: ProcessPool, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those with which the fork server has started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    wait(pool.start(make_task(program)))
    program.with_suffix(".log").unlink()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.chdir(tmp_path)
    wait(pool.start(make_task(program)))
    report = read_report(program)
    assert (report["gpu"], report["cwd"]) == (None, str(tmp_path))


def test_each_end_has_its_exit_code(pool: ProcessPool, program: Path) -> None:
    assert wait(pool.start(make_task(program, "fail"))) == 2
    assert wait(pool.start(make_task(program, "crash"))) == -signal.SIGSEGV
    killed = pool.start(make_task(program, "wait"))
    read_report(program)
    killed.kill()
    assert wait(killed) == -signal.SIGKILL


@pytest.mark.slow
def test_what_the_fork_server_imports_survives_a_fork() -> None:
    """No thread, no CUDA; an import that fails there would go unnoticed, but for the time of each trial."""
    code = """
import sr.sweep.pool.preload, signal, sys, threading
from pathlib import Path
import torch
assert torch.cuda.is_initialized() is False
assert threading.active_count() == 1
assert "Threads:\\t1\\n" in Path("/proc/self/status").read_text()
assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""
    variables = os.environ | {
        process.SERVER_VARIABLE: "1",
        "OPENBLAS_NUM_THREADS": "1",
    }  # its threads are made anew after a fork
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_launcher_of_hydra_runs_a_plain_grid(sr: Callable, world: Path, tmp_path: Path) -> None:
    """Hydra's own sweeper: no folder of a sweep."""
    words = ["data=folder", f"data.path={world}/photos", "data.patch=16", "data.workers=0", "trainer.accelerator=cpu"]
    words += ["trainer.max_steps=1", "stages=[fit]", "track=journal", f"paths.runs={tmp_path}", "model.net.width=4"]
    answer = sr("run", "-m", "hydra/launcher=basic", "seed=0,1", *words)
    assert answer.code == 0, answer.err
    assert {"seed=0", "seed=1"} == {word for _, run in list_runs(tmp_path) for word in run.overrides if "seed" in word}
    assert not (tmp_path / "sweeps").exists()


def test_the_reason_of_a_failure_is_the_last_error_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_reason(7, log) == "exit code 7"
    log.write_text("step 1\nerror: scale=5: expected 2\n\nbye\n")
    assert read_reason(2, log) == "scale=5: expected 2"
    assert read_reason(-9, log) == "ended by signal 9 (out of memory?)"
    assert read_reason(-11, log) == "ended by signal 11"


@pytest.mark.group("sweep/pool")
def test_every_pool_is_built_from_its_file(choice: str, compose: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or says what it needs: no extra is installed, and there is no cluster."""
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    node = compose(f"sweep/pool={choice}", "sweep.pool.fork_server=false" if choice == "process" else "sweep.jobs=1")
    build = functools.partial(build_part, node["sweep"]["pool"], "sweep.pool", jobs=2, gpus_per_trial=0)
    if choice == "process":
        assert isinstance(build(), ProcessPool)
        return
    command = {"submitit": r"pip install 'sr\[slurm\]'", "ray": r"pip install 'sr\[ray\]'"}[choice]
    with pytest.raises(UserError, match=f"sweep/pool={choice}: .*{command}"):
        build()


def test_slurm_is_needed_where_its_jobs_are_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="needs pip install 'sr[slurm]'")
    monkeypatch.setattr(submitit.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="found no command sbatch"):
        submitit.SubmititPool(1, gpus_per_trial=0)
    with pytest.raises(UserError, match=r"sweep\.pool\.parameters: .*slurm_acount"):
        submitit.SubmititPool(1, gpus_per_trial=0, cluster="local", parameters={"slurm_acount": "me"})


def test_a_cluster_of_ray_that_does_not_answer_is_reported_at_once() -> None:
    pytest.importorskip("ray", reason="needs pip install 'sr[ray]'")
    address = f"127.0.0.1:{find_free_port()}"
    with pytest.raises(UserError, match=f"sweep.pool.address={address}: .*refused"):
        RayPool(1, gpus_per_trial=0, address=address)


def test_a_job_whose_time_is_over_ends_with_a_checkpoint(program: Path) -> None:
    """SLURM sends SIGUSR2 to all processes of a job; the trial gets SIGTERM instead, which interrupts it."""
    code = f"""
import sys
from pathlib import Path
from sr.sweep.pool.command import run_command
from sr.sweep.pool.pool import Task
variables = {{"SR_SWEEP": "mine", "OMP_NUM_THREADS": "1"}}
sys.exit(-run_command(Task([{str(program)!r}, "wait"], Path({str(program.with_suffix(".log"))!r}), variables)))
"""
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    read_report(program)
    os.killpg(process.pid, signal.SIGUSR2)
    assert process.wait(20) == signal.SIGTERM


# GPUs.


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"accelerator": "auto", "devices": 1}, 1),
        ({"accelerator": "gpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": 1}, 0),
        ({"accelerator": "gpu", "devices": "auto"}, 0),
        ({"accelerator": "gpu", "devices": [1]}, 0),  # the user has chosen
    ],
)
def test_gpus_of_a_trial_are_counted(trainer: dict, expected: int) -> None:
    assert gpu.count_gpus(trainer) == expected


def test_trials_of_two_gpus_have_two_of_their_own() -> None:
    first = gpu.choose_gpus(["0", "1", "2", "3"], [], 2)
    assert (first, gpu.choose_gpus(["0", "1", "2", "3"], first, 2)) == (["0", "1"], ["2", "3"])


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
    pool = ProcessPool(3, gpus_per_trial=1, fork_server=False)
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
    assert ProcessPool(1, gpus_per_trial=1, fork_server=False).gpus == []  # one job sees all, as the command alone does


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
    assert [former.number for former in Channel.list_existing(tmp_path)] == [7]


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
    with send_heartbeats(tmp_path):
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


# The scheduler and its pool.


class FakePool(Pool):
    """Each trial ends at once, with the next of these exit codes; with 0 it leaves a result."""

    def __init__(self, folder: Path, codes: list[int]) -> None:
        self.folder, self.codes, self.events = folder, codes, []

    def start(self, task: Task) -> TrialJob:
        code = self.codes.pop(0)
        self.events.append(f"start {task.program[-1]}")
        if code == 0:
            result = TrainingResult(status="FINISHED", metrics={"best/val/Set5/psnr": 7.0})
            (self.folder / SUMMARY_FILE).write_text(result.to_json())
            LineFile(Path(task.variables[CHANNEL_VARIABLE]) / MESSAGES_FILE).append(folder=str(self.folder))
        return FakeJob(code)

    def cancel(self, job_id: str) -> None:
        self.events.append(f"cancel {job_id}")

    def close(self) -> None:
        self.events.append("close")


class FakeJob(TrialJob):
    has_ended = True

    def __init__(self, code: int) -> None:
        self.id, self.exit_code = "17", code

    def kill(self) -> None:
        raise NotImplementedError


@pytest.fixture
def make_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scheduler]:
    """Return a function that makes a scheduler of one trial, `x=1`."""
    monkeypatch.setattr(scheduler, "CLUSTER_POLL_SECONDS", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def make(*codes: int, report: Callable[[], None] = lambda: None) -> Scheduler:
        settings = {"sampler": None, "pruner": {"_target_": "optuna.pruners.NopPruner"}}
        study = Study(tmp_path, {"x": Values(("1",))}, settings, ["maximize"], seed=0)
        return Scheduler(study, tmp_path, [], ["psnr"], 1, report, FakePool(tmp_path, list(codes)))

    return make


def test_a_trial_that_its_machine_has_interrupted_is_resumed(
    make_scheduler: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePool, "is_cluster", True)
    sweep = make_scheduler(130, 143, 0)
    sweep.run()
    assert sweep.pool.events == ["start x=1", "start x=1", "start x=1", "close"]
    assert [trial.values for trial in sweep.study.trials] == [[7.0]]


def test_a_trial_that_is_interrupted_again_and_again_has_failed(
    make_scheduler: Callable[..., Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePool, "is_cluster", True)
    sweep = make_scheduler(*[130] * 30)
    sweep.run()
    assert sweep.study.trials[0].user_attrs[REASON].startswith("interrupted 21 times")


def test_who_interrupts_a_trial_on_this_machine_interrupts_the_sweep(
    make_scheduler: Callable[..., Scheduler],
) -> None:
    sweep = make_scheduler(130)
    with pytest.raises(KeyboardInterrupt):
        sweep.run()
    assert len(sweep.study.list_unfinished()) == 1
    again = make_scheduler(0)
    again.run()
    assert again.pool.events == ["cancel 17", "start x=1", "close"]
    assert [trial.values for trial in again.study.trials] == [[7.0]]


def test_a_trial_that_still_runs_is_waited_for(
    make_scheduler: Callable[..., Scheduler],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The sweep was killed before it had read where the trial's run is; its channel says it."""
    identity = Identity()
    identity.claim()  # this process runs it
    write_identity(tmp_path, identity)
    sweep = make_scheduler(0)
    sweep.study.start_trial()
    former = Channel.create(tmp_path, 0)
    LineFile(former.folder / MESSAGES_FILE).append(folder=str(tmp_path))
    LineFile(former.folder / MESSAGES_FILE).append(step=50, value=6.5)

    has_looked = threading.Event()

    def look(folder: Path) -> Identity | None:
        found = read_identity(folder)
        has_looked.set()
        return found

    monkeypatch.setattr(scheduler, "read_identity", look)

    def finish() -> None:
        has_looked.wait(60)
        assert not former.folder.exists()  # the trial is interrupted by that
        assert sweep.pool.events == []
        identity.status = "KILLED"
        write_identity(tmp_path, identity)

    thread = threading.Thread(target=finish)
    thread.start()
    sweep.run()
    thread.join(10)
    assert sweep.pool.events == ["start x=1", "close"]
    assert f"trial 0 still runs (process {os.getpid()} on " in capsys.readouterr().err
    assert sweep.study.trials[0].intermediate_values == {50: 6.5}  # by which a pruner compares later trials


def test_a_page_that_cannot_be_written_does_not_end_the_sweep(
    make_scheduler: Callable[..., Scheduler], capsys: pytest.CaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("no plot")

    sweep = make_scheduler(0, report=fail)
    sweep.run()
    assert sweep.study.trials[0].values == [7.0]
    assert "could not be written (ValueError: no plot)" in capsys.readouterr().err
