"""What a net costs: parameters, multiply-adds, seconds and memory."""

import contextlib
import copy
import ctypes
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

OUTPUT = (720, 1280)  # rows and columns of the picture that the field counts multiply-adds for


def parameters(net: nn.Module) -> int:
    """All weights, in units."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, channels: int, scale: int) -> int | None:
    """Multiply-adds of convolutions, linear layers and matrix products for one 1280×720 *output*, as in the tables
    since CARN (2018); nothing is computed, only shapes. None where a net cannot be followed that way."""
    lr = torch.empty(1, channels, *(math.ceil(n / scale) for n in OUTPUT), device="meta")
    counter = FlopCounterMode(display=False)
    try:
        ghost = copy.deepcopy(net).to("meta")
        with torch.no_grad(), counter:
            ghost(lr)
    except Exception:  # a stranger's forward may do anything that needs real numbers
        return None
    return counter.get_total_flops() // 2


class Meter:
    """Seconds and peak memory of each picture that a net enlarges on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.peak = 0  # bytes above what was there before, the largest of all; 0 where it cannot be read

    @property
    def milliseconds(self) -> float:
        """The median of all calls but the first, which warms up."""
        return 1000 * statistics.median(self.seconds[1:] or self.seconds or [math.nan])

    @contextlib.contextmanager
    def measuring(self, count: int = 1) -> Iterator[None]:
        """Around one call, which works on `count` pictures."""
        before = self._reset()
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append((time.perf_counter() - start) / count)
        self.peak = max(self.peak, (self._high_water() - before) // count)

    def _reset(self) -> int:
        """Begin a new high-water mark; returns the bytes in use now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        with contextlib.suppress(OSError, AttributeError):  # Linux and glibc only
            ctypes.CDLL(None).malloc_trim(0)  # what the last call freed is given back, to be counted again
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        return _status("VmRSS")

    def _high_water(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    """Bytes, of Linux's own record of this process; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0
