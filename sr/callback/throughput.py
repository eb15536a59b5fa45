"""How fast a training is, what it waits for, and what it takes: one point of each at every validation."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import resource
import sys
import time

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.profilers import PassThroughProfiler, Profiler

from sr.model.module import SRModule
from sr.track.tracker import Tracker

_NEXT = "train_dataloader_next"  # Lightning's name for getting the next batch
_NOTHING = contextlib.nullcontext()


class TrainingClock(Callback):
    """Seconds of training, without those of validation."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, 0.0

    @property
    def state_key(self) -> str:
        """The key of `state_dict()` in a checkpoint: the name that this class had when the first ones were written."""
        return "Clock"

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds + (time.perf_counter() - self._since if self._since else 0.0)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, *_: object) -> None:
        self._since = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        if self._since:  # not before training, when the untrained net is measured
            self.seconds += time.perf_counter() - self._since

    def on_validation_end(self, *_: object) -> None:
        self._since = time.perf_counter() if self._since else 0.0

    def on_train_end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since
        self._since = 0.0

    def on_exception(self, *_: object) -> None:
        if self._since:
            self.on_train_end()


class DataWaitProfiler(Profiler):
    """Sums up the time that Lightning spends in the data loader's `next`. Nothing else is looked at, which makes it
    cheaper than Lightning's own profiler that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._since = 0.0, 0.0

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:
        return _NOTHING

    def start(self, action_name: str) -> None:
        if action_name.endswith(_NEXT):
            self._since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(_NEXT):
            self.seconds += time.perf_counter() - self._since


class Throughput(Callback):
    """Between two validations: `train/steps_per_second`, and `train/data_wait`, the share of the time in which the loop
    waited for a batch, 0…1. `train/peak_memory_gb` is the most so far: of the GPU, else of the process.

    It stands behind the `clock` among the callbacks. Where `trainer.profiler` is set, the waiting is not measured.
    """

    def __init__(self, tracker: Tracker, clock: TrainingClock) -> None:
        self.tracker, self.clock, self.waiting = tracker, clock, DataWaitProfiler()
        self._before = (0, 0.0, 0.0)  # steps, seconds of training, seconds of waiting

    def on_fit_start(self, trainer: Trainer, module: SRModule) -> None:
        if isinstance(trainer.profiler, PassThroughProfiler):
            trainer.profiler = self.waiting
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, module: SRModule) -> None:
        self._before = (trainer.global_step, self.clock.seconds, self.waiting.seconds)

    def on_validation_start(self, trainer: Trainer, module: SRModule) -> None:
        now = (trainer.global_step, self.clock.seconds, self.waiting.seconds)
        steps, seconds, waited = (a - b for a, b in zip(now, self._before, strict=True))
        if steps <= 0 or seconds <= 0:
            return
        self._before = now
        found = {
            "steps_per_second": steps / seconds,
            "peak_memory_gb": read_peak_memory(trainer.strategy.root_device) / 1e9,
        }
        found |= {"data_wait": min(1.0, waited / seconds)} if trainer.profiler is self.waiting else {}
        self.tracker.log_points({f"train/{name}": value for name, value in found.items()}, trainer.global_step)


def read_peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU what PyTorch had at most, else what this process had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
