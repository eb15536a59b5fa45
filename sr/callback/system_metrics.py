"""Sample the load of the machine during a run in a thread, under the names that trackers show as "System metrics"."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

from sr.track.tracker import Tracker

RAPL_FOLDER = Path("/sys/class/powercap")
RAPL_PACKAGES = "intel-rapl:[0-9]*"  # one for each processor, also of AMD; its parts have a second colon in their names
JOULES_PER_WH = 3600.0
BYTES_PER_MB = 1e6


class SystemMetrics:
    """Logs a sample every `interval` seconds (None: never), at the step that `step` returns, from `start` to `stop`.

    What cannot be read is left out, and nothing ever fails. `wh` is the energy so far in Wh, of this machine's processors
    (`cpu`) and of the GPUs that this process may use (`gpu`), as far as they measure it; other processes count as well.
    """

    def __init__(self, tracker: Tracker, folder: Path, interval: float | None, step: Callable[[], int]) -> None:
        self.tracker, self.folder, self.interval, self._step = tracker, folder, interval, step
        self.wh: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_reported_error = False

    def start(self) -> None:
        """Start the thread; the first sample comes after `interval` seconds, because CPU load needs two readings."""
        if self.interval is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="system", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Take a last sample, so that the shortest run has one, and end the thread."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(timeout=5.0)
            self._thread = None

    def _run(self) -> None:
        process = psutil.Process()
        psutil.cpu_percent(None)
        energy, last_time = read_rapl(), time.monotonic()
        while not self._stop.is_set():
            self._stop.wait(self.interval)
            try:
                now = time.monotonic()
                values = dict(_sample_machine(process, self.folder)) | dict(_sample_gpus())
                energy = self._add_energy(values, energy, now - last_time)
                last_time = now
                self.tracker.log_points({f"system/{name}": value for name, value in values.items()}, self._step())
            except Exception as error:  # whatever a driver raises: a sample is not worth a run
                self._report_error(error)

    def _add_energy(self, values: dict[str, float], before: dict[str, int], seconds: float) -> dict[str, int]:
        """Add the energy since the last sample; a counter that has overflowed restarts at 0, and its energy is lost."""
        energy = read_rapl()
        microjoules = [energy[name] - before[name] for name in energy if energy[name] >= before.get(name, energy[name])]
        watts = [value for name, value in values.items() if name.endswith("_power_usage_watts")]
        for kind, joules in (("cpu", sum(microjoules) / 1e6 if energy else None), ("gpu", sum(watts) * seconds)):
            if joules is not None and (kind == "cpu" or watts):
                self.wh[kind] = self.wh.get(kind, 0.0) + joules / JOULES_PER_WH
        return energy

    def _report_error(self, error: Exception) -> None:
        if not self._has_reported_error:
            self._has_reported_error = True
            print(f"\nnote: a sample of the system metrics failed ({type(error).__name__}: {error})", file=sys.stderr)


def _sample_machine(process: psutil.Process, folder: Path) -> Iterator[tuple[str, float]]:
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    yield "cpu_utilization_percentage", psutil.cpu_percent(None)
    yield "system_memory_usage_megabytes", memory.used / BYTES_PER_MB
    yield "system_memory_usage_percentage", round(100 * memory.used / memory.total, 1)
    yield "disk_usage_percentage", disk.percent
    yield "disk_available_megabytes", disk.free / BYTES_PER_MB
    resident = process.memory_info().rss
    for child in process.children(recursive=True):  # processes of data loaders
        with contextlib.suppress(psutil.Error):  # it has ended
            resident += child.memory_info().rss
    yield "process_memory_usage_megabytes", resident / BYTES_PER_MB


def _sample_gpus() -> Iterator[tuple[str, float]]:
    """Yield values of all GPUs that this process may use, if NVML is there (package nvidia-ml-py); without it, only the
    memory of those that it uses."""
    if not torch.cuda.is_initialized():  # a query would create a context of hundreds of MB
        return
    for k in range(torch.cuda.device_count()):
        used = _read_used_memory(k)
        if used is not None:
            share = 100 * used / torch.cuda.get_device_properties(k).total_memory
            yield f"gpu_{k}_memory_usage_megabytes", used / BYTES_PER_MB
            yield f"gpu_{k}_memory_usage_percentage", min(100.0, round(share, 1))  # NVML includes the driver's memory
        with contextlib.suppress(Exception):  # no NVML, or one that cannot measure it
            yield f"gpu_{k}_utilization_percentage", float(torch.cuda.utilization(k))
            yield f"gpu_{k}_power_usage_watts", torch.cuda.power_draw(k) / 1000


def _read_used_memory(device: int) -> int | None:
    """Return the bytes that all processes use on a GPU; None if that cannot be read.

    `mem_get_info` creates a context of hundreds of MB on a device where this process has none, so it is called for devices
    in use only, and with their index: the current device of a thread is 0, whatever device the run is on.
    """
    with contextlib.suppress(Exception):  # no NVML, or one that cannot measure it
        return torch.cuda.device_memory_used(device)
    if not torch.cuda.memory_reserved(device):
        return None
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def read_rapl(root: Path = RAPL_FOLDER) -> dict[str, int]:
    """Return the energy counter of each processor in µJ; empty if there is none, or if only root may read it."""
    counters = {}
    for package in root.glob(RAPL_PACKAGES):
        with contextlib.suppress(OSError, ValueError):
            if package.name.count(":") == 1:
                counters[package.name] = int((package / "energy_uj").read_text(encoding="ascii"))
    return counters
