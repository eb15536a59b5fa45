"""Measure the speed of a training, its waiting time for data, and its memory: one point of each at every validation."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import sys
import time

import psutil
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.profilers import PassThroughProfiler, Profiler

from sr.model.module import SRModule
from sr.track.tracker import Tracker

try:
    import resource
except ImportError:  # Windows
    resource = None

_NEXT_BATCH = "train_dataloader_next"  # Lightning's name of the action that gets the next batch
_NO_CONTEXT = contextlib.nullcontext()


class TrainingClock(Callback):
    """Counts the seconds of training, without those of validation."""

    def __init__(self) -> None:
        self.seconds, self._start = 0.0, 0.0

    @property
    def state_key(self) -> str:
        """The key of `state_dict()` in a checkpoint: the name that this class had when the first ones were written."""
        return "Clock"

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds + (time.perf_counter() - self._start if self._start else 0.0)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, *_: object) -> None:
        self._start = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        if self._start:  # not before training, when the untrained net is evaluated
            self.seconds += time.perf_counter() - self._start

    def on_validation_end(self, *_: object) -> None:
        self._start = time.perf_counter() if self._start else 0.0

    def on_train_end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start
        self._start = 0.0

    def on_exception(self, *_: object) -> None:
        if self._start:
            self.on_train_end()


class DataWaitProfiler(Profiler):
    """Sums up the seconds that Lightning waits for the next batch, and ignores all other actions, which makes it cheaper
    than Lightning's own profiler that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._start = 0.0, 0.0

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:
        return _NO_CONTEXT

    def start(self, action_name: str) -> None:
        if action_name.endswith(_NEXT_BATCH):
            self._start = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(_NEXT_BATCH):
            self.seconds += time.perf_counter() - self._start


class Throughput(Callback):
    """Logs for the time between two validations `train/steps_per_second` and `train/data_wait`, the share of the time in
    which the loop waited for a batch, 0…1; and `train/peak_memory_gb`, the maximum so far of the GPU, or of the process.

    It must come after the `clock` among the callbacks. With `trainer.profiler` the waiting time is not measured.
    """

    def __init__(self, tracker: Tracker, clock: TrainingClock) -> None:
        self.tracker, self.clock, self.profiler = tracker, clock, DataWaitProfiler()
        self._last_counts = (0, 0.0, 0.0)  # steps, seconds of training, seconds of waiting, at the last validation

    def on_fit_start(self, trainer: Trainer, module: SRModule) -> None:
        if isinstance(trainer.profiler, PassThroughProfiler):
            trainer.profiler = self.profiler
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._last_counts = (trainer.global_step, self.clock.seconds, self.profiler.seconds)

    def on_validation_start(self, trainer: Trainer, module: SRModule) -> None:
        counts = (trainer.global_step, self.clock.seconds, self.profiler.seconds)
        steps, seconds, waited = (now - before for now, before in zip(counts, self._last_counts, strict=True))
        if steps <= 0 or seconds <= 0:
            return
        self._last_counts = counts
        peak = read_peak_memory(trainer.strategy.root_device)
        values = {"train/steps_per_second": steps / seconds, "train/peak_memory_gb": peak / 1e9}
        if trainer.profiler is self.profiler:
            values["train/data_wait"] = min(1.0, waited / seconds)
        self.tracker.log_points(values, trainer.global_step)


def read_peak_memory(device: torch.device) -> int:
    """Return the most bytes that PyTorch had on the GPU, or on a CPU those of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
