"""What a run takes of its machine: sampled by a thread, under the names that trackers show as "System metrics"."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

from sr.track.tracker import Tracker

RAPL = Path("/sys/class/powercap")
PACKAGE = "intel-rapl:[0-9]*"  # a processor; its parts have a second colon. AMD's are called so as well
WH = 3600.0  # J
MB = 1e6


class SystemMetrics:
    """From `start` to `stop`, a sample every `every` seconds (None: never) at the step that `step` tells. What cannot be
    read is left out, and nothing ever fails. `wh` is what was spent so far, by this machine's processors and by the GPUs
    that this process may use, whoever else worked on them, as far as they tell.
    """

    def __init__(self, tracker: Tracker, folder: Path, every: float | None, step: Callable[[], int]) -> None:
        self.tracker, self.folder, self.every, self._step = tracker, folder, every, step
        self.wh: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    def start(self) -> None:
        """Nothing is measured yet: a share of the CPU's time needs two readings."""
        if self.every is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="system", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """A last sample, so that the shortest run has one."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(timeout=5.0)
            self._thread = None

    def _run(self) -> None:
        process = psutil.Process()
        psutil.cpu_percent(None)
        energy, then = read_rapl(), time.monotonic()
        while not self._stop.is_set():
            self._stop.wait(self.every)
            try:
                now = time.monotonic()
                values = dict(_of_machine(process, self.folder)) | dict(_of_gpus())
                energy = self._add_energy(values, energy, now - then)
                then = now
                self.tracker.log_points({f"system/{name}": value for name, value in values.items()}, self._step())
            except Exception as error:  # whatever a driver raises: a sample is not worth a run
                self._tell(error)

    def _add_energy(self, values: dict[str, float], before: dict[str, int], seconds: float) -> dict[str, int]:
        """Count what was spent since the sample before; a counter that was full began at 0 again: that time is lost."""
        energy = read_rapl()
        joules = [energy[name] - before[name] for name in energy if energy[name] >= before.get(name, energy[name])]
        watts = [value for name, value in values.items() if name.endswith("_power_usage_watts")]
        for kind, spent in (("cpu", sum(joules) / 1e6 if energy else None), ("gpu", sum(watts) * seconds)):
            if spent is not None and (kind == "cpu" or watts):
                self.wh[kind] = self.wh.get(kind, 0.0) + spent / WH
        return energy

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            print(f"\nnote: a sample of the system metrics failed ({type(error).__name__}: {error})", file=sys.stderr)


def _of_machine(process: psutil.Process, folder: Path) -> Iterator[tuple[str, float]]:
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    yield "cpu_utilization_percentage", psutil.cpu_percent(None)
    yield "system_memory_usage_megabytes", memory.used / MB
    yield "system_memory_usage_percentage", round(100 * memory.used / memory.total, 1)
    yield "disk_usage_percentage", disk.percent
    yield "disk_available_megabytes", disk.free / MB
    resident = process.memory_info().rss
    for child in process.children(recursive=True):  # a data loader's processes
        with contextlib.suppress(psutil.Error):  # it is gone
            resident += child.memory_info().rss
    yield "process_memory_usage_megabytes", resident / MB


def _of_gpus() -> Iterator[tuple[str, float]]:
    """Of all devices that this process may use, as NVML tells (the package nvidia-ml-py); without it the memory of those
    that it does use."""
    if not torch.cuda.is_initialized():  # asking would start a context of hundreds of MB
        return
    for k in range(torch.cuda.device_count()):
        used = _memory_used(k)
        if used is not None:
            share = 100 * used / torch.cuda.get_device_properties(k).total_memory
            yield f"gpu_{k}_memory_usage_megabytes", used / MB
            yield f"gpu_{k}_memory_usage_percentage", min(100.0, round(share, 1))  # NVML counts what the driver keeps
        with contextlib.suppress(Exception):  # no NVML, or one that does not tell
            yield f"gpu_{k}_utilization_percentage", float(torch.cuda.utilization(k))
            yield f"gpu_{k}_power_usage_watts", torch.cuda.power_draw(k) / 1000


def _memory_used(device: int) -> int | None:
    """Bytes, by whomever. `mem_get_info` opens a context of hundreds of MB where this process has none, and a thread's
    current device is 0, whatever the run's is."""
    with contextlib.suppress(Exception):  # no NVML, or one that does not tell
        return torch.cuda.device_memory_used(device)
    if not torch.cuda.memory_reserved(device):
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def read_rapl(root: Path = RAPL) -> dict[str, int]:
    """µJ that each processor has counted; empty where there is no counter, or only root may read it."""
    found = {}
    for package in root.glob(PACKAGE):
        with contextlib.suppress(OSError, ValueError):
            if package.name.count(":") == 1:
                found[package.name] = int((package / "energy_uj").read_text(encoding="ascii"))
    return found
