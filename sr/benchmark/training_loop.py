"""Compare a training by this framework with a bare loop, as one would write it by hand, in alternating rounds.

The bare loop holds its images in memory, with LR images made beforehand, and has no tracking, no validation and no
framework. All that it does, the framework has to do as well.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sr.benchmark.batches import draw_patches, load_patches
from sr.benchmark.row import Row
from sr.callback.best import BestCheckpoint
from sr.callback.checkpointing import CheckpointWriter
from sr.callback.metrics import MetricLogger
from sr.callback.monitor import find_monitored_metrics
from sr.callback.panels import PanelLogger
from sr.callback.progress_bar import TrainingProgressBar
from sr.callback.throughput import DataWaitProfiler, TrainingClock
from sr.checkpoint import architecture
from sr.config.build import build_model, build_part, build_trainer
from sr.model.cnn import CNN
from sr.model.gradient import list_trainable
from sr.runtime import malloc, terminal
from sr.runtime.error import UserError
from sr.trainer.adapter import LightningData, TrackerLogger

REFERENCE = "bare PyTorch loop: LR made beforehand, no tracking, no validation, no framework"
MIN_STEPS = 5  # of a round


class LoopTiming(NamedTuple):
    """The figures of one round."""

    rate: float  # steps per second
    waiting: float  # share of the time spent waiting for the next batch, 0…1


def compare_training(config: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of all `nets`."""
    malloc.retain_freed_memory()  # the bare loop benefits as well
    for name in config["nets"]:
        node = architecture.compose_net_config(name, config["scale"], config["channels"])
        yield from TrainingComparison(config | {"model": config["model"] | {"net": node}}).compare()


class TrainingComparison:
    """Both sides of one config, which must train a CNN on image patches."""

    def __init__(self, config: dict[str, Any]) -> None:
        terminal.silence_library_warnings()
        self.config = config
        self.steps, self.batch = config["steps"], config["data"].get("batch")
        torch.set_num_threads(config["threads"])
        self.data = load_patches(config)
        if not isinstance(build_model(config), CNN):
            raise UserError("sr.bench: expected model=cnn")

    def compare(self) -> list[Row]:
        """Run all rounds; the side that runs first alternates."""
        self.device = torch.device("cpu") if not torch.cuda.is_available() else torch.device("cuda")
        self._run_bare_loop(MIN_STEPS)  # warms up
        steps_per_round = round(self.config["seconds"] * self._run_bare_loop(MIN_STEPS).rate)
        self.steps = min(self.steps, max(MIN_STEPS, steps_per_round))
        self.config["trainer"] |= {"max_steps": self.steps, "val_check_interval": self.steps}
        ours: list[LoopTiming] = []
        reference: list[LoopTiming] = []
        for k in range(self.config["rounds"]):
            print(f"round {k + 1} of {self.config['rounds']}", file=sys.stderr)
            sides = [(ours, self._run_framework), (reference, self._run_bare_loop)]
            for timings, run in sides if k % 2 == 0 else reversed(sides):
                timings.append(run())
        net = self.config["model"]["net"]["_target_"].rpartition(".")[2]
        patch = self.config["data"]["patch"]
        name = f"training, {net}, batch {self.batch}, patch {patch}, tracking on"
        waiting = [[100 * timing.waiting for timing in timings] for timings in (ours, reference)]
        return [
            Row(name, [t.rate for t in ours], [t.rate for t in reference], "steps/s", REFERENCE),
            Row(f"{net}, waiting for data, share of time", *waiting, "%", REFERENCE),
        ]

    def _run_framework(self) -> LoopTiming:
        with tempfile.TemporaryDirectory() as folder:
            store = {"runs": folder, "uri": None} if "runs" in self.config["track"] else {}  # never the user's database
            tracker = build_part(self.config["track"] | store, "track")
            model, clock, profiler = build_model(self.config), TrainingClock(), DataWaitProfiler()
            monitored = find_monitored_metrics(self.config, self.data.list_set_names("val"), model.metric)
            best = BestCheckpoint(Path(folder), monitored)
            callbacks = [
                best,
                clock,
                TrainingProgressBar(best.key),
                MetricLogger(tracker),
                PanelLogger(tracker),
                CheckpointWriter(best, self.config, tracker),
            ]
            trainer = build_trainer(self.config, callbacks, TrackerLogger(tracker), manual=False)
            trainer.profiler = profiler
            self.device = trainer.strategy.root_device  # the bare loop runs on it as well
            tracker.start("bench", Path(folder), {}, [], {})
            trainer.fit(model, datamodule=LightningData(self.data))
            tracker.close("FINISHED")
            return LoopTiming(self.steps / clock.seconds, profiler.seconds / clock.seconds)

    def _run_bare_loop(self, steps: int | None = None) -> LoopTiming:
        steps, device, trainer = steps or self.steps, self.device, self.config["trainer"]
        model = build_model(self.config)
        layout = torch.channels_last if trainer["channels_last"] else torch.contiguous_format
        net, loss_function = model.net.to(device, memory_format=layout).train(), model.loss
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=trainer["precision"] == "bf16-mixed")
        optimizer = model.optimizer(list_trainable(net))
        batches, wait_seconds = draw_patches(self.data, self.config), 0.0
        start = time.perf_counter()
        for _ in range(steps):
            wait_start = time.perf_counter()
            lr, hr = next(batches)
            wait_seconds += time.perf_counter() - wait_start
            lr, hr = (x.to(device).float().div(255).to(memory_format=layout) for x in (lr, hr))
            with autocast:
                loss = loss_function.total(loss_function(net(lr), hr))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        return LoopTiming(steps / seconds, wait_seconds / seconds)
