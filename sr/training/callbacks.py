"""The callbacks of a training, in the order in which Lightning calls them."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback

from sr.callback.alarms import AlarmMonitor
from sr.callback.best import BestCheckpoint
from sr.callback.checkpointing import CheckpointWriter
from sr.callback.crash_batch import CrashBatch
from sr.callback.degradation_sheet import DegradationSheet
from sr.callback.interrupt import InterruptHandler
from sr.callback.metrics import MetricLogger
from sr.callback.monitor import MonitoredMetrics
from sr.callback.panels import PanelLogger
from sr.callback.progress_bar import TrainingProgressBar
from sr.callback.sweep_trial import SweepTrial
from sr.callback.throughput import Throughput, TrainingClock
from sr.config.diff import flatten
from sr.model.module import SRModule
from sr.record.trial import TrialChannel
from sr.track.tracker import Tracker
from sr.training.preparation import PreparedData

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class TrainingCallbacks(NamedTuple):
    """All callbacks, and those among them whose state is part of the result."""

    all: list[Callback]
    best: BestCheckpoint
    clock: TrainingClock
    alarms: AlarmMonitor


def build_callbacks(
    config: dict[str, Any],
    model: SRModule,
    tracker: Tracker,
    folder: Path,
    parent_folder: Path | None,
    monitored: MonitoredMetrics,
    prepared: PreparedData,
    is_main: bool,
) -> TrainingCallbacks:
    """Build the callbacks of a run in `folder`; `parent_folder` is of the run that it branches off, if it does."""
    best = BestCheckpoint(folder, monitored, config["patience"], parent_folder)
    best.set_digests = {part.name: part.digest for part in prepared.fingerprint if part.context == "val"}
    writer = CheckpointWriter(best, config, tracker, config["checkpoint_minutes"], config["checkpoint_steps"])
    writer.leaks = [list(leak) for leak in prepared.leaks]
    clock, alarms = TrainingClock(), AlarmMonitor(tracker, model.alarm, flatten(config))
    callbacks = [InterruptHandler(), best, clock, Throughput(tracker, clock), MetricLogger(tracker)]
    callbacks += [TrainingProgressBar(best.key)] if is_main else []
    channel = TrialChannel.open() if is_main else None
    callbacks += [SweepTrial(channel, best, tracker, folder)] if channel else []
    callbacks += [PanelLogger(tracker), DegradationSheet(tracker)] if tracker.panels else []
    # The writer is last, so that everything reported at a step precedes its checkpoint in the tracker.
    callbacks += [alarms, CrashBatch(folder), writer]
    for callback in callbacks:
        skip_unused_hooks(callback)
    return TrainingCallbacks(callbacks, best, clock, alarms)


def skip_unused_hooks(callback: Callback) -> None:
    """Set the hooks of a step that a callback leaves empty to None, which Lightning skips. To call all of them took a
    tenth of a millisecond a step."""
    for name in STEP_HOOKS:
        if getattr(type(callback), name) is getattr(Callback, name):
            setattr(callback, name, None)
