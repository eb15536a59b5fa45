"""The cost of a network: parameters, multiply-adds, time and memory."""

import contextlib
import ctypes
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from sr.inference.multiply_adds import count_multiply_adds

MAX_SUMMARY_PARTS = 12  # modules of a net that get a line each, at most


def count_parameters(net: nn.Module) -> int:
    """Return the number of weights."""
    return sum(p.numel() for p in net.parameters())


def format_summary(net: nn.Module, channels: int) -> str:
    """Describe an untrained net: its size, cost and receptive field, a line each, and the parameters of its parts."""
    deployed = net.deploy() if hasattr(net, "deploy") else net
    multiply_adds, size = count_multiply_adds(deployed, channels, net.scale), count_parameters(deployed)
    field = getattr(net, "receptive_field", "not declared")  # by a net of the user's own
    field_text = f"{field}×{field} LR pixels" if isinstance(field, int) else field
    merged = f", and {size:,} deployed, as the multiply-adds are counted" if size < count_parameters(net) else ""
    lines = [
        f"{type(net).__name__} ×{net.scale}, {channels} channel{'s' * (channels > 1)}",
        f"parameters        {count_parameters(net):,}{merged}",
        f"multiply-adds     {'unknown' if multiply_adds is None else f'{multiply_adds / 1e9:,.1f} G'} for a 1280×720 output",
        f"receptive field   {field_text or 'whole image: tiles change the result'}",
    ]
    return "\n".join([*lines, *(f"  {name:<28}{count:>12,}" for name, count in _count_by_part(net) if count)])


def _count_by_part(net: nn.Module, prefix: str = "") -> list[tuple[str, int]]:
    """Return name and parameters of the outermost level of modules that is more than one, and of the net's own."""
    parts = list(net.named_children())
    if len(parts) == 1 and 0 < len(list(parts[0][1].children())) <= MAX_SUMMARY_PARTS:
        return _count_by_part(parts[0][1], f"{prefix}{parts[0][0]}.")
    own = sum(p.numel() for p in net.parameters(recurse=False))
    return [*((f"{prefix}{name}", count_parameters(part)) for name, part in parts), (f"{prefix}(itself)", own)]


class Meter:
    """Measures seconds and peak memory of each image that a net upscales on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.peak = 0  # the most bytes that a call needed beyond those in use before it; 0 where it cannot be read
        self._largest = 0  # pixels of the largest image so far

    @property
    def milliseconds(self) -> float:
        """The median of all calls except the first, which warms up."""
        return 1000 * statistics.median(self.seconds[1:] or self.seconds or [math.nan])

    @contextlib.contextmanager
    def measure_call(self, count: int = 1, pixels: int | None = None) -> Iterator[None]:
        """Measure the block, one call that upscales `count` images.

        On a CPU the peak is that of the largest image: of a call with no more `pixels` than one before only the time is
        measured, because all freed memory has to be returned to the system first, and provided again by it.
        """
        with_peak = self.device.type == "cuda" or pixels is None or pixels > self._largest
        self._largest = max(self._largest, pixels or 0)
        bytes_before = self._reset_peak() if with_peak else 0
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append((time.perf_counter() - start) / count)
        if with_peak:
            self.peak = max(self.peak, (self._read_peak() - bytes_before) // count)

    def _reset_peak(self) -> int:
        """Reset the device's or the process's peak; return the bytes in use now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        with contextlib.suppress(OSError, AttributeError, TypeError):  # Linux and glibc only
            ctypes.CDLL(None).malloc_trim(0)  # return the memory that the last call freed, so that it is counted again
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        return _read_process_status("VmRSS")

    def _read_peak(self) -> int:
        is_cuda = self.device.type == "cuda"
        return torch.cuda.max_memory_allocated(self.device) if is_cuda else _read_process_status("VmHWM")


def _read_process_status(key: str) -> int:
    """Return an entry of Linux's /proc/self/status in bytes; 0 on other systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0
