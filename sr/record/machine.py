"""The machine of a run: what it is, the flags that change numbers on it, and how fast it is."""

import os
import platform
import re
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from sr.runtime.precision import read_settings

# Points that no machine repeats: whoever compares two runs leaves them out.
OF_MACHINE = re.compile(
    r"system/.+|train/(steps_per_second|data_wait|peak_memory_gb)|(val|test)/.+/(ms_per_image|peak_memory_mb)"
)
VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
             "OMP_NUM_THREADS", "ONEDNN_DEFAULT_FPMATH_MODE", "PYTORCH_CUDA_ALLOC_CONF", "SR_DATA")  # fmt: skip
SECONDS, LEAST, MOST = 0.1, 3, 100  # of the speed's measurement, and its rounds


def describe_machine() -> dict[str, Any]:
    """CPU, memory, GPUs and their libraries."""
    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # which kernels PyTorch chooses
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory(),
        "gpu": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if cuda else [],
        "driver": _driver() if cuda else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
    }


def read_flags() -> dict[str, Any]:
    """What PyTorch was told that changes the last digits, or more."""
    backends = torch.backends
    return {
        "threads": torch.get_num_threads(),
        **read_settings(),
        "cudnn_benchmark": backends.cudnn.benchmark,
        "cudnn_deterministic": backends.cudnn.deterministic,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": backends.mkldnn.enabled,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


@torch.no_grad()
def measure_gflops(device: torch.device) -> float | None:
    """GFLOP/s of one 3×3 convolution, 32 channels to 32, in float32: the median of rounds of a tenth of a second in all.

    No random number is drawn: what follows is the same with and without it. None where the device is full.
    """
    try:
        return _speed(device)
    except RuntimeError:  # out of memory: the training will say it better
        return None


def _speed(device: torch.device) -> float:
    batch, side = (1, 96) if device.type == "cpu" else (16, 256)
    image, weight = torch.ones(batch, 32, side, side, device=device), torch.ones(32, 32, 3, 3, device=device)
    flop = 2 * batch * 32 * 32 * 9 * side * side

    def seconds() -> float:
        start = time.perf_counter()
        F.conv2d(image, weight, padding=1)
        if device.type in ("cuda", "mps"):
            getattr(torch, device.type).synchronize()
        return time.perf_counter() - start

    seconds()  # warms up
    end, rounds = time.perf_counter() + SECONDS, []
    while len(rounds) < LEAST or (time.perf_counter() < end and len(rounds) < MOST):
        rounds.append(seconds())
    return round(flop / median(rounds) / 1e9, 1)


def _cpu() -> str:
    """Its name where Linux tells it, else its kind."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _driver() -> str | None:
    """The NVIDIA driver's version, as Linux tells it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", text)
    return found[0] if found else None
