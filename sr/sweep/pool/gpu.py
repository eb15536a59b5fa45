"""Find the GPUs that the trials of a sweep on one machine may use, and give each trial its share."""

import os
from collections.abc import Sequence
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"


def count_gpus(trainer: dict[str, Any]) -> int:
    """Return how many GPUs a training takes, the first ones that it sees; 0 if none, all, or those of the numbers it names."""
    devices = trainer.get("devices", 1)
    return devices if isinstance(devices, int) and trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") else 0


def list_gpus() -> list[str]:
    """Return the names of the GPUs for `CUDA_VISIBLE_DEVICES`: those that the user has chosen by it, otherwise all.

    They are counted without CUDA, which would be of no use in a process that is copied afterwards.
    """
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip() and name.strip() != "-1"]
    return [str(index) for index in range(_count_gpus())]


def choose_gpus(gpus: Sequence[str], used: Sequence[str], count: int) -> list[str]:
    """Return `count` GPUs, those that the fewest trials use; `used` has one entry for each GPU of each trial."""
    return sorted(gpus, key=used.count)[:count]


def _count_gpus() -> int:
    import pynvml  # of nvidia-ml-py

    try:
        pynvml.nvmlInit()
        try:
            return pynvml.nvmlDeviceGetCount()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:  # no driver
        return 0
