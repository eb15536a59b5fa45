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

PARTS = 12  # of a net, at most, that are worth a line each
OUTPUT = (720, 1280)  # rows and columns of the picture that the field counts multiply-adds for


def count_parameters(net: nn.Module) -> int:
    """All weights, in units."""
    return sum(p.numel() for p in net.parameters())


def count_multiply_adds(net: nn.Module, channels: int, scale: int) -> int | None:
    """Multiply-adds of convolutions, linear layers and matrix products for one 1280×720 *output*, as in the tables
    since CARN (2018); nothing is computed, only shapes. None where a net cannot be followed that way."""
    lr = torch.empty(1, channels, *(math.ceil(n / scale) for n in OUTPUT), device="meta")
    counter = FlopCounterMode(display=False)
    try:
        ghost = copy.deepcopy(net).to("meta")
        with torch.no_grad(), torch.device("meta"), counter:  # masks that forward makes need no numbers either
            ghost(lr)
    except Exception:  # a stranger's forward may do anything that needs real numbers
        return None
    return counter.get_total_flops() // 2


def format_summary(net: nn.Module, channels: int) -> str:
    """What is known of a net before it has seen a picture, a line each, and the parameters of its parts."""
    form = net.deploy() if hasattr(net, "deploy") else net
    work, size = count_multiply_adds(form, channels, net.scale), count_parameters(form)
    field = getattr(net, "receptive_field", "not declared")  # by a net of the user's own
    looks = f"{field}×{field} LR pixels" if isinstance(field, int) else field
    merged = f", and {size:,} deployed, as the multiply-adds are counted" if size < count_parameters(net) else ""
    lines = [
        f"{type(net).__name__} ×{net.scale}, {channels} channel{'s' * (channels > 1)}",
        f"parameters        {count_parameters(net):,}{merged}",
        f"multiply-adds     {'unknown' if work is None else f'{work / 1e9:,.1f} G'} for a 1280×720 output",
        f"receptive field   {looks or 'whole picture: tiles change the result'}",
    ]
    return "\n".join([*lines, *(f"  {name:<28}{count:>12,}" for name, count in _parts(net) if count)])


def _parts(net: nn.Module, prefix: str = "") -> list[tuple[str, int]]:
    """The outermost modules that are more than one, and what of the net lies beside them."""
    parts = list(net.named_children())
    if len(parts) == 1 and 0 < len(list(parts[0][1].children())) <= PARTS:
        return _parts(parts[0][1], f"{prefix}{parts[0][0]}.")
    own = sum(p.numel() for p in net.parameters(recurse=False))
    return [*((f"{prefix}{name}", count_parameters(part)) for name, part in parts), (f"{prefix}(itself)", own)]


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
    def measure_call(self, count: int = 1) -> Iterator[None]:
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
