"""The processes of a training on several devices: how many, and what they tell each other before they train."""

import os
from typing import Any, ClassVar

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from sr.config.schema import count_processes
from sr.runtime import launch
from sr.runtime.error import UserError
from sr.runtime.launch import launch_processes


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


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"devices=\[1, 2\]: expected numbers of GPUs \(found 2 GPUs, counted from 0\)"):
        count_processes({"accelerator": "auto", "devices": [1, 2]})


def test_a_list_of_gpus_is_accepted(compose: Any) -> None:
    assert compose("trainer=ddp", "trainer.devices=[0,1]")["trainer"]["devices"] == [0, 1]
    assert compose("trainer.devices=[1]")["trainer"]["devices"] == [1]
    with pytest.raises(UserError, match=r"trainer.devices=\[0,1\]: expected a count with trainer.accelerator=cpu"):
        compose("trainer=ddp", "trainer.devices=[0,1]", "trainer.accelerator=cpu")
