"""Measure what tracking costs the training thread, against other loggers, and during an outage.

There are two figures of each: the calls alone, and the total loss of a loop of real steps, which includes the background
threads. These work in bursts, seconds after a call. So a loop that logs marks its checkpoints as a training does, and
afterwards continues without logging until everything that was logged is uploaded; its loss is the time that it took beyond
that of as many steps without tracking, which is the mean of the untracked rounds before and after it. Neither short
alternating blocks nor medians within a round would do: bursts would fall into untracked blocks, or be invisible.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import nn

from sr.benchmark.outage import compare_outages
from sr.benchmark.row import Row
from sr.benchmark.tracked_loop import SCALARS, create_training_step
from sr.image.batch import EvaluationOutput
from sr.image.resize import imresize, upscale_bicubic
from sr.metric.panel import draw_panel
from sr.metric.protocol import Protocol
from sr.runtime import malloc
from sr.runtime.error import UserError
from sr.track.comparison import IMAGE_LOGGER, SCALAR_LOGGER, create_image_logger, create_scalar_logger, open_tracker

PANELS = 4  # at each validation
VALIDATION_INTERVAL = 300  # steps between two validations, with a checkpoint each: conf/trainer/default
MIN_ROUND_SECONDS = 5.0  # several cycles of the background threads
DEFAULT_NET_SECONDS = 12.0  # of a round of the default net: 2 % must be measurable
SLOW_CALL_STEPS = 50  # of a block, for calls that take some ten milliseconds
POLL_SECONDS = 1.0  # between two checks of what is uploaded
UPLOAD_SECONDS = 300.0  # in which everything must be uploaded


class LoopTime(NamedTuple):
    """Steps, and the seconds that they took."""

    steps: int
    seconds: float


class TimedCall:
    """A function of the step that measures the time of its calls."""

    def __init__(self, call: Callable[[int], Any]) -> None:
        self.call, self.count, self.seconds = call, 0, 0.0

    def __call__(self, step: int) -> None:
        start = time.perf_counter()
        self.call(step)
        self.count, self.seconds = self.count + 1, self.seconds + time.perf_counter() - start


class LoggingPlan(NamedTuple):
    """The calls of one logger in a loop of steps: after each step, and after each block of steps."""

    log: Callable[[int], Any]
    calls_per_step: int = 0
    calls_per_block: int = 0
    seconds: float = 0.0  # of a round, at least: whole blocks
    block_steps: int = SLOW_CALL_STEPS
    end_block: Callable[[int], Any] = lambda step: None
    is_uploaded: Callable[[], bool] = lambda: True  # True if everything is uploaded


class LoggingCosts(NamedTuple):
    """The costs of one call, in each round."""

    call_ms: list[float]  # measured around the call
    total_ms: list[float]  # that the loop loses
    step_shares: list[float]  # the same, as a share of a step without tracking


def compare_tracking(config: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows for scalars, for panels, and for outages of the server."""
    malloc.retain_freed_memory()  # as a training does
    old_threads = torch.get_num_threads()
    torch.set_num_threads(config["threads"])
    try:
        yield from _compare_scalars(config)
        yield from _compare_panels(config)
        yield from compare_outages(config)
    finally:
        torch.set_num_threads(old_threads)


def _compare_scalars(config: dict[str, Any]) -> Iterator[Row]:
    with open_tracker() as (tracker, is_uploaded), tempfile.TemporaryDirectory() as folder:
        log_scalars = create_scalar_logger(folder)
        scalars = {f"train/{i}": torch.tensor(1 / (i + 3)) for i in range(SCALARS)}  # a training step has them anyway

        def log(step: int) -> None:
            tracker.log_points(scalars, step)

        def log_by_lightning(step: int) -> None:
            log_scalars({f"train/{i}": float(step) for i in range(SCALARS)}, step)

        seconds = max(MIN_ROUND_SECONDS, config["seconds"])
        plans = [
            LoggingPlan(log, 1, 0, seconds, VALIDATION_INTERVAL, tracker.mark_saved, is_uploaded),
            LoggingPlan(log_by_lightning, 1),
        ]
        ours, reference = measure_costs(_create_short_step(), plans, config["rounds"], "scalars")
        name = f"tracking a step with {SCALARS} scalars"
        yield Row(f"{name}, the call", ours.call_ms, reference.call_ms, "ms", SCALAR_LOGGER)
        yield Row(
            f"{name}, total loss of a loop of short steps", ours.total_ms, reference.total_ms, "ms", SCALAR_LOGGER
        )
        plans = [plan._replace(seconds=DEFAULT_NET_SECONDS) for plan in plans]
        costs = measure_costs(
            create_training_step(config), plans, config["rounds"], "scalars of the default net", DEFAULT_NET_SECONDS
        )
        percent = [[100 * share for share in side.step_shares] for side in costs]
        yield Row(f"{name}, total loss of a loop of the default net", *percent, "%", SCALAR_LOGGER)


def _compare_panels(config: dict[str, Any]) -> Iterator[Row]:
    """Log panels as a validation does: four in a row, drawn in a background thread, followed by a checkpoint."""
    draw = _create_panel_function(config["scale"])
    with open_tracker() as (tracker, is_uploaded):
        log_image = create_image_logger(tracker)

        def log(step: int) -> None:
            tracker.log_image("panel", draw, step)

        def log_by_client(step: int) -> None:
            log_image(draw(), step)

        seconds = max(MIN_ROUND_SECONDS, config["seconds"])
        plans = [
            LoggingPlan(log, 0, PANELS, seconds, VALIDATION_INTERVAL, tracker.mark_saved, is_uploaded),
            LoggingPlan(log_by_client, 0, PANELS),
        ]
        ours, reference = measure_costs(_create_short_step(), plans, config["rounds"], "panels")
    yield Row("tracking a panel, the call", ours.call_ms, reference.call_ms, "ms", IMAGE_LOGGER)
    yield Row("tracking a panel, total loss of the loop", ours.total_ms, reference.total_ms, "ms", IMAGE_LOGGER)


def measure_costs(
    step_function: Callable[[], Any],
    plans: list[LoggingPlan],
    rounds: int,
    name: str,
    untracked_seconds: float = MIN_ROUND_SECONDS,
) -> list[LoggingCosts]:
    """Measure the costs of each plan; a round without tracking of `untracked_seconds` is between any two rounds."""
    costs = [LoggingCosts([], [], []) for _ in plans]
    _run_loop(step_function, 1.0)  # warms up
    before, step = _run_loop(step_function, untracked_seconds), 0
    for k in range(rounds):
        print(f"{name}, round {k + 1} of {rounds}", file=sys.stderr)
        for cost, plan in zip(costs, plans, strict=True):
            log = TimedCall(plan.log)
            tracked = _run_loop(step_function, plan.seconds, plan._replace(log=log), step)
            upload = _run_until(plan.is_uploaded, step_function)
            after = _run_loop(step_function, untracked_seconds)
            step_seconds = (before.seconds / before.steps + after.seconds / after.steps) / 2
            loss = tracked.seconds + upload.seconds - (tracked.steps + upload.steps) * step_seconds
            cost.call_ms.append(1000 * log.seconds / log.count)
            cost.total_ms.append(1000 * loss / log.count)
            cost.step_shares.append(loss / log.count / step_seconds)
            before, step = after, step + tracked.steps
    return costs


def _run_loop(
    step_function: Callable[[], Any], seconds: float, plan: LoggingPlan | None = None, step: int = 0
) -> LoopTime:
    """Run whole blocks of steps, at least one, until `seconds` have passed."""
    plan = plan or LoggingPlan(lambda step: None, block_steps=VALIDATION_INTERVAL)
    start, first = time.perf_counter(), step
    while step == first or time.perf_counter() - start < seconds:
        for _ in range(plan.block_steps):
            step_function()
            step += 1
            for _ in range(plan.calls_per_step):
                plan.log(step)
        for _ in range(plan.calls_per_block):
            plan.log(step)
        plan.end_block(step)
    return LoopTime(step - first, time.perf_counter() - start)


def _run_until(condition: Callable[[], bool], step_function: Callable[[], Any]) -> LoopTime:
    """Run steps without tracking until the condition holds; the time of checking it is not counted."""
    steps, seconds = 0, 0.0
    while not condition():
        if seconds > UPLOAD_SECONDS:
            raise UserError(f"parts=[track]: what was logged is not all uploaded after {UPLOAD_SECONDS:g} s")
        timing = _run_loop(step_function, POLL_SECONDS)
        steps, seconds = steps + timing.steps, seconds + timing.seconds
    return LoopTime(steps, seconds)


def _create_panel_function(scale: int) -> Callable[[], Image.Image]:
    """Return a function that draws the panel of a photograph."""
    from skimage import data

    hr = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    hr = hr[..., : 512 // scale * scale, : 512 // scale * scale]
    lr = imresize(hr, 1 / scale)
    return partial(draw_panel, EvaluationOutput(lr, upscale_bicubic(lr, scale), hr), Protocol("edsr", scale, "rgb"))


def _create_short_step() -> Callable[[], Any]:
    """Return a function that computes for about a millisecond."""
    net, x = nn.Conv2d(16, 16, 3), torch.rand(1, 16, 48, 48)

    def step() -> None:
        with torch.no_grad():
            for _ in range(4):
                net(x)

    return step
