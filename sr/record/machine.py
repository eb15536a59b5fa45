"""The machine of a run: its hardware, the flags that change numbers on it, and its speed."""

import os
import platform
import re
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from sr.runtime.cores import count_cores
from sr.runtime.precision import read_settings

# Metrics that depend on the machine and its load, so that a comparison of two runs leaves them out.
MACHINE_METRICS = re.compile(
    r"system/.+|train/(steps_per_second|data_wait|peak_memory_gb)|(val|test)/.+/(ms_per_image|peak_memory_mb)"
    r"|cost/(ms_per_image|ntire_score)"
)
VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
             "OMP_NUM_THREADS", "ONEDNN_DEFAULT_FPMATH_MODE", "PYTORCH_CUDA_ALLOC_CONF", "SR_DATA")  # fmt: skip
SPEED_SECONDS, MIN_ROUNDS, MAX_ROUNDS = 0.1, 3, 100  # of the measurement of the speed


def describe_machine() -> dict[str, Any]:
    """Return CPU, memory, GPUs and the versions of their libraries."""
    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "cpu": _read_cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # selects PyTorch's kernels
        "cpus": os.cpu_count(),
        "cpus_usable": count_cores(),
        "memory_gb": _read_memory_gb(),
        "gpu": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if cuda else [],
        "driver": _read_driver_version() if cuda else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
    }


def read_flags() -> dict[str, Any]:
    """Return the settings of PyTorch and the environment variables that change the last digits of results, or more."""
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
    """Return the GFLOP/s of one 3×3 convolution, 32 channels to 32, in float32: the median over a tenth of a second.

    It draws no random number, so that the run's results do not depend on it. None if the device is out of memory.
    """
    try:
        return _measure_convolution(device)
    except RuntimeError:  # out of memory: the training will raise a better error
        return None


def _measure_convolution(device: torch.device) -> float:
    batch, side = (1, 96) if device.type == "cpu" else (16, 256)
    image, weight = torch.ones(batch, 32, side, side, device=device), torch.ones(32, 32, 3, 3, device=device)
    flop = 2 * batch * 32 * 32 * 9 * side * side

    def measure_round() -> float:
        start = time.perf_counter()
        F.conv2d(image, weight, padding=1)
        if device.type in ("cuda", "mps"):
            getattr(torch, device.type).synchronize()
        return time.perf_counter() - start

    measure_round()  # warm-up
    end, rounds = time.perf_counter() + SPEED_SECONDS, []
    while len(rounds) < MIN_ROUNDS or (time.perf_counter() < end and len(rounds) < MAX_ROUNDS):
        rounds.append(measure_round())
    return round(flop / median(rounds) / 1e9, 1)


def _read_cpu_name() -> str:
    """Return the model of the CPU on Linux, elsewhere its kind."""
    try:
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _read_memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _read_driver_version() -> str | None:
    """Return the version of the NVIDIA driver, on Linux."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", text)
    return match[0] if match else None
