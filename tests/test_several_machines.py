"""Training on two machines, which are two process groups on this one: started by torchrun, and as srun starts tasks."""

import multiprocessing
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from conftest import wait_for
from documents import ROOT

from sr.checkpoint.load import load_checkpoint
from sr.record.identity import read_identity
from sr.record.journal_format import JOURNAL_FILE
from sr.runtime import heartbeat, launch
from sr.runtime.error import UserError
from sr.runtime.launch import find_free_port

TRAINING = (
    "data=folder", "data.patch=32", "data.repeat=6", "model.net.width=4", "model/schedule=constant", "data.test=[]",
    "data.val=[Set14]", "trainer.accelerator=cpu", "trainer.max_steps=4", "track=journal",
)  # fmt: skip
TWO_MACHINES = ("trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "data.batch=4")
FOREVER = ("trainer.max_steps=100000", "trainer.val_check_interval=100000")


def choose_job_id() -> int:
    """Return the id of a job of SLURM whose port, 15000 + its last four digits, is free."""
    while True:
        job_id = random.randrange(10000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 15000 + job_id)):
                return job_id


class Tasks:
    """The tasks of a job of SLURM on two machines, one on each, as copies of this process."""

    def __init__(self, folder: Path, words: tuple[str, ...], variables: dict[str, str]) -> None:
        self.logs = [folder / f"task {rank}.log" for rank in (0, 1)]
        self.runs, self.words, self.job_id = folder / "runs", words, choose_job_id()
        context = multiprocessing.get_context("fork")  # a new Python imports for seconds
        self.processes = [context.Process(target=self._run, args=(rank, variables)) for rank in (0, 1)]

    def start(self, *ranks: int) -> None:
        for rank in ranks:
            self.processes[rank].start()

    def end(self, seconds: float = 200) -> tuple[list[int | None], list[str]]:
        """Return the exit codes and the outputs of both tasks."""
        for process in self.processes:
            process.join(seconds)
        return [process.exitcode for process in self.processes], [log.read_text() for log in self.logs]

    def wait_for_steps(self) -> None:
        wait_for(lambda: any(b"train/loss" in path.read_bytes() for path in self.runs.glob(f"*/{JOURNAL_FILE}")))

    def _run(self, rank: int, variables: dict[str, str]) -> None:
        from sr.run import main

        os.environ |= {
            "SLURM_JOB_ID": str(self.job_id), "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.[1-2]",
            "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2",
            "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0", "SR_RUNS": str(self.runs),
        } | (variables if rank else {})  # fmt: skip
        output = self.logs[rank].open("w", buffering=1)
        os.dup2(output.fileno(), 2)
        sys.stdout, sys.stderr, sys.argv = output, output, ["sr-run", *self.words]
        main()


@pytest.fixture
def start_tasks(tmp_path: Path, world: Path) -> Any:
    """Return a function that starts both tasks; `variables` are further ones of the second machine."""
    started: list[Tasks] = []

    def start(*words: str, variables: dict[str, str] | None = None) -> Tasks:
        options = (*TRAINING, *TWO_MACHINES, f"data.path={world}/photos")
        tasks = Tasks(tmp_path, (*options, *words), {"SR_DATA": str(world)} | (variables or {}))
        started.append(tasks)
        tasks.start(0, 1)
        return tasks

    old = os.environ.get("SR_DATA")
    os.environ["SR_DATA"] = str(world)
    yield start
    os.environ.pop("SR_DATA") if old is None else os.environ.update(SR_DATA=old)
    for process in (process for tasks in started for process in tasks.processes):
        process.kill()
        process.join()


def read_section() -> str:
    """Return what docs/deploy.md says about training on several machines."""
    return (
        (ROOT / "docs/deploy.md")
        .read_text(encoding="utf-8")
        .split("\n## Train on several machines\n")[1]
        .split("\n## ")[0]
        .replace("\\\n ", "")
    )


def find_command(program: str) -> str:
    """Return the line of that section that begins with a program."""
    (line,) = re.findall(rf"^{program} .*$", read_section(), re.MULTILINE)
    return line


def read_folder(runs: Path) -> Path:
    (folder,) = runs.iterdir()
    return folder


@pytest.mark.long
def test_torchrun_on_two_machines_trains_like_one_process_and_srun_resumes_it(
    sr: Any, world: Path, tmp_path: Path
) -> None:
    """With twice the batch: weights and metrics are equal, there is one run, and the second machine prints no result."""
    options = (*TRAINING, f"paths.data={world}", f"data.path={world}/photos")
    assert sr("run", *options, "data.batch=8", "paths.runs=alone", "trainer.max_steps=6").code == 0
    command = find_command("torchrun")
    for old, new in {
        "torchrun": f"{sys.executable} -m torch.distributed.run", "10.0.0.1": "127.0.0.1", "29500": str(find_free_port()),
        "per-node=4": "per-node=1", "devices=4": "devices=1",
    }.items():  # fmt: skip
        assert old in command
        command = command.replace(old, new)
    machines = []
    for rank in (0, 1):
        words = command.replace("node-rank=0", f"node-rank={rank} --local-addr=127.0.0.{rank + 1}").split()
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        machines.append(subprocess.Popen([*words, *options, "data.batch=4"], **output))
    outputs = [machine.communicate(timeout=200)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert ["finished: 4 steps" in output for output in outputs] == [True, False]
    folder = read_folder(tmp_path / "runs")
    tasks = Tasks(tmp_path, (f"resume={folder}", "trainer.max_steps=6"), {})
    tasks.start(0, 1)
    codes, outputs = tasks.end()
    assert (codes, read_folder(tmp_path / "runs")) == ([0, 0], folder), outputs
    alone, both = (torch.load(path / "last.ckpt", weights_only=True) for path in (read_folder(Path("alone")), folder))
    assert alone["global_step"] == both["global_step"] == 6
    for name, value in alone["state_dict"].items():
        torch.testing.assert_close(both["state_dict"][name], value, rtol=0, atol=1e-6, msg=name)
    single, double = (load_checkpoint(path).metrics for path in (read_folder(Path("alone")), folder))
    assert double["val/Set14/psnr"] == pytest.approx(single["val/Set14/psnr"], abs=1e-4)


def test_the_batch_job_of_the_documents_starts_a_task_for_each_device(sr: Any) -> None:
    section = read_section()
    answer = sr("run", *shlex.split(find_command("srun").partition(" -m sr.run ")[2]), "--cfg=job")
    assert answer.code == 0, answer.err
    trainer = yaml.safe_load(answer.out)["trainer"]
    assert f"--nodes={trainer['num_nodes']} --ntasks-per-node={trainer['devices']} " in section
    assert hasattr(signal, f"SIG{re.search('--signal=([A-Z0-9]+)@', section)[1]}")


@pytest.mark.slow(5)
def test_the_signal_before_the_end_of_a_job_ends_both_machines_with_a_checkpoint(
    start_tasks: Callable[..., Tasks],
) -> None:
    tasks = start_tasks(*FOREVER)
    tasks.wait_for_steps()
    os.kill(tasks.processes[1].pid, signal.SIGUSR1)
    codes, outputs = tasks.end()
    assert codes == [130, 130], outputs
    folder = read_folder(tasks.runs)
    assert read_identity(folder).status == "KILLED"
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] > 0


@pytest.mark.slow(5)
def test_a_killed_machine_ends_the_other_one_with_a_clear_message(start_tasks: Callable[..., Tasks]) -> None:
    tasks = start_tasks(*FOREVER)
    tasks.wait_for_steps()
    tasks.processes[1].kill()
    killed = time.monotonic()
    codes, (output, _) = tasks.end()
    assert (codes, time.monotonic() - killed < 120) == ([2, -signal.SIGKILL], True)
    assert "error: another process of this training" in output
    assert "its own output says why" in output
    assert ("Traceback" in output, "GLHF" in output) == (False, False), output
    identity = read_identity(read_folder(tasks.runs))
    assert (identity.status, "another process" in identity.exit) == ("FAILED", True)


@pytest.mark.slow(5)
def test_a_machine_that_stops_to_answer_ends_the_other_one(
    start_tasks: Callable[..., Tasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose power or network fails: no connection is closed."""
    for name, seconds in {"INTERVAL": 0.2, "LOST_SECONDS": 3.0, "GRACE_SECONDS": 1.0}.items():
        monkeypatch.setattr(heartbeat, name, seconds)
    tasks = start_tasks(*FOREVER)
    tasks.wait_for_steps()
    os.kill(tasks.processes[1].pid, signal.SIGSTOP)
    tasks.processes[0].join(60)
    assert tasks.processes[0].exitcode == 1
    assert "has failed: process 1 no longer answers" in tasks.logs[0].read_text()


@pytest.mark.slow(5)
def test_an_error_on_one_machine_ends_the_other_one_before_training(
    start_tasks: Callable[..., Tasks], tmp_path: Path
) -> None:
    tasks = start_tasks(variables={"SR_DATA": str(tmp_path / "nowhere")})
    codes, (first, second) = tasks.end()
    assert codes == [2, 2], (first, second)
    assert f"process 1 ({socket.gethostname()}) ended with exit code 2" in first
    assert "error: data.val=Set14" in second
    assert list(tasks.runs.glob("*")) == []


class OtherTasks:
    """Environment variables by which torchrun or srun says how many processes it has started."""

    torchrun: ClassVar[dict[str, str]] = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    srun: ClassVar[dict[str, str]] = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
@pytest.mark.parametrize(("devices", "machines"), [(1, 1), (2, 1), (1, 2)])
def test_other_numbers_of_processes_than_the_launcher_has_started_are_refused(
    launcher: str, devices: int, machines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the four would train alone, or wait for others; the message has the numbers that fit."""
    for name, value in getattr(OtherTasks, launcher).items():
        monkeypatch.setenv(name, value)
    expected = r"expected \d process.* \(found 4.*type trainer=ddp trainer\.devices=2 trainer\.num_nodes=2"
    with pytest.raises(UserError, match=expected), launch.launch_processes(devices, [], machines):
        pass


def test_several_machines_need_a_launcher(sr: Any) -> None:
    answer = sr("run", "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2")
    assert (answer.code, "expected 2 processes (found this one alone)" in answer.err) == (2, True)
    answer = sr("run", "trainer.num_nodes=2")
    assert (answer.code, "add trainer=ddp" in answer.err) == (2, True)
