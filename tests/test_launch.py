"""The processes of a training on several devices: how many, and what they tell each other before they train."""

from typing import Any

import pytest
import torch

from sr.config.schema import count_processes
from sr.runtime.error import UserError


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


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"devices=\[1, 2\]: expected numbers of GPUs \(found 2 GPUs, counted from 0\)"):
        count_processes({"accelerator": "auto", "devices": [1, 2]})


def test_a_list_of_gpus_is_accepted(compose: Any) -> None:
    assert compose("trainer=ddp", "trainer.devices=[0,1]")["trainer"]["devices"] == [0, 1]
    assert compose("trainer.devices=[1]")["trainer"]["devices"] == [1]
    with pytest.raises(UserError, match=r"trainer.devices=\[0,1\]: expected a count with trainer.accelerator=cpu"):
        compose("trainer=ddp", "trainer.devices=[0,1]", "trainer.accelerator=cpu")
