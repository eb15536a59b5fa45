"""Find the GPUs that the trials of a sweep on one machine may use, and give each trial one of them."""

import os
from collections.abc import Sequence
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"


def uses_one_gpu(trainer: dict[str, Any]) -> bool:
    """Return whether a training takes one GPU, the first one that it sees, if there is any."""
    return trainer.get("devices", 1) == 1 and trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda")


def list_gpus() -> list[str]:
    """Return the names of the GPUs for `CUDA_VISIBLE_DEVICES`: those that the user has chosen by it, otherwise all.

    They are counted without CUDA, which would be of no use in a process that is copied afterwards.
    """
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip() and name.strip() != "-1"]
    return [str(index) for index in range(_count_gpus())]


def choose_gpu(gpus: Sequence[str], used: Sequence[str]) -> str:
    """Return the first of the GPUs that the fewest trials use; `used` has one entry for each trial."""
    return min(gpus, key=used.count)


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
