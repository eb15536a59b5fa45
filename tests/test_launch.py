"""The processes of a training on several devices: how many, and what they tell each other before they train."""

import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning_fabric.strategies.launchers import subprocess_script

from sr.config.schema import count_processes
from sr.runtime import launch
from sr.runtime.error import UserError
from sr.runtime.launch import launch_processes
from sr.runtime.signals import signals


@pytest.mark.parametrize(
    ("accelerator", "devices", "count"),
    [
        ("cpu", "auto", 1),  # Lightning takes one process for the CPU, whatever other devices there are
        ("mps", "auto", 1),
        ("cpu", 2, 2),
        ("auto", "auto", 4),
        ("gpu", "auto", 4),
        ("cuda", [3, 1], 2),
        ("auto", [2], 1),
    ],
)
def test_devices_of_the_chosen_accelerator_are_counted(
    accelerator: str, devices: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_processes({"accelerator": accelerator, "devices": devices}) == count


class MockProcess:
    """A process that is started by `launch_processes`, and has ended already."""

    started: ClassVar[list[dict[str, str]]] = []

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.started.append(env)
        self.returncode = 0

    def poll(self) -> int:
        return 0

    def wait(self, timeout: float) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the environments of the processes that would be started."""
    monkeypatch.setattr(launch.subprocess, "Popen", MockProcess)
    monkeypatch.setattr(MockProcess, "started", [])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return MockProcess.started


def test_processes_in_a_batch_job_of_slurm_train_together(
    started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one task, which starts them itself. Lightning would take each for a training of its own."""
    for name, value in {"NTASKS": "1", "PROCID": "0", "JOB_NAME": "train", "JOB_ID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert SLURMEnvironment.detect()
    with launch_processes(3, []):
        assert not SLURMEnvironment.detect()
        assert (LightningEnvironment().main_port, os.environ["WORLD_SIZE"]) == (int(started[0]["MASTER_PORT"]), "3")
    assert [env["LOCAL_RANK"] for env in started] == ["1", "2"]
    assert not any("SLURM_NTASKS" in env for env in started)
    assert (SLURMEnvironment.detect(), "LOCAL_RANK" in os.environ) == (True, False)


def test_tasks_that_srun_has_started_start_no_further_ones(
    started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with launch_processes(2, []):
        assert started == []


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, "3"),
        ({"OMP_NUM_THREADS": "5"}, "5"),  # the user's
        (
            {"OMP_NUM_THREADS": "4", "SR_TRIAL_THREADS": "4"},
            "2",
        ),  # of a trial of a sweep, whose other jobs have the rest
    ],
)
def test_processes_share_the_threads_of_the_machine_or_of_their_trial(
    variables: dict[str, str], threads: str, started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "count_cores", lambda: 6)
    for name in ("OMP_NUM_THREADS", "SR_TRIAL_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    old_threads = torch.get_num_threads()
    with launch_processes(2, []):
        assert started[0]["OMP_NUM_THREADS"] == str(torch.get_num_threads()) == threads
    assert torch.get_num_threads() == old_threads


def write_results(launcher: str, results: Path) -> None:
    """Train until another process of this training fails, and write the results then, which takes a second."""
    try:
        if launcher == "sr":
            with launch_processes(2, ["scale=5"]):  # which the other process refuses
                time.sleep(60)
        subprocess_script._launch_process_observer([subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])])
        time.sleep(60)
    finally:
        time.sleep(1)
        results.write_text(signals.abort_reason or "")


@pytest.mark.long
def test_results_are_written_after_another_process_has_failed(tmp_path: Path) -> None:
    """Lightning's launcher kills this process instead: the reason for one of our own."""
    codes = {}
    for launcher in ("sr", "Lightning"):
        process = multiprocessing.get_context("fork").Process(
            target=write_results, args=(launcher, tmp_path / launcher)
        )
        process.start()
        process.join(60)
        codes[launcher] = process.exitcode
    assert codes["Lightning"] == -signal.SIGKILL
    assert not (tmp_path / "Lightning").exists()
    assert "ended with exit code 2" in (tmp_path / "sr").read_text()


def test_torchrun_gives_a_process_half_a_minute_for_its_results() -> None:
    """Another reason: MLflow, which is slow or down, may need more; torchrun has no option for it."""
    from torch.distributed.elastic.multiprocessing.api import PContext

    assert inspect.signature(PContext.close).parameters["timeout"].default == 30


def test_a_sweep_starts_its_processes_itself(sr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = sr("run", "-m", "seed=0,1")
    assert (answer.code, "leave torchrun and srun out" in answer.err) == (2, True)


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"devices=\[1, 2\]: expected numbers of GPUs \(found 2 GPUs, counted from 0\)"):
        count_processes({"accelerator": "auto", "devices": [1, 2]})


def test_a_list_of_gpus_is_accepted(compose: Any) -> None:
    assert compose("trainer=ddp", "trainer.devices=[0,1]")["trainer"]["devices"] == [0, 1]
    assert compose("trainer.devices=[1]")["trainer"]["devices"] == [1]
    with pytest.raises(UserError, match=r"trainer.devices=\[0,1\]: expected a count with trainer.accelerator=cpu"):
        compose("trainer=ddp", "trainer.devices=[0,1]", "trainer.accelerator=cpu")
