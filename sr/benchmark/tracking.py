"""What tracking takes from the training thread, against Lightning's and MLflow's own ways, and while MLflow is out.

Two figures of each: the calls alone, by a clock around them, and all that a loop of real steps loses, by the threads
behind as well. They work in bursts, seconds later. So a loop that tells settles as a training does and goes on, telling
nothing, until MLflow has all that was told; its loss is what it took more than as many bare steps, whose time is the mean
of the bare turns before and after it. No short blocks in turns, and no medians within a turn: bursts would fall into
bare blocks, or out of sight.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mlflow import MlflowClient
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger
from torch import nn

from sr.benchmark.fault_proxy import Gate, Server
from sr.callback.panels import draw_panel
from sr.config.build import build_model
from sr.image.resize import imresize, upscale_bicubic
from sr.metric.protocol import Protocol
from sr.model.evaluation import EvaluationOutput
from sr.runtime import malloc
from sr.runtime.error import UserError
from sr.track.mlflow import MLflow
from sr.track.upload import Upload

SCALARS, PANELS = 5, 4  # at each step; at each validation
EVERY = 300  # steps between two validations, with a checkpoint each: conf/trainer/default
LEAST = 5.0  # seconds of a turn: several wakes of the threads behind
LONG = 12.0  # seconds of a turn of the default net: of 2 %, something must be seen
FEW = 50  # steps of a turn of what takes some ten milliseconds a call
POLL = 1.0  # seconds between two looks at what MLflow has
PATIENCE = 300.0  # seconds that all may take to be there
OUTAGE = 30.0  # seconds of a turn with an outage, which lasts from a sixth of it on to five sixths
OFTEN = 50  # steps between two checkpoints of these turns, so that there is always something to send
ROUNDS = 3  # of outages, at most
WARMING = 8.0  # seconds of steps before a turn with an outage: a machine that was idle is faster for a while
LIGHTNING = "pytorch_lightning.loggers.MLFlowLogger.log_metrics, into SQLite"
LOG_IMAGE = "the panel drawn, then MlflowClient.log_image, into SQLite"
UNDISTURBED = "the same loop while MLflow's server answers"


class Turn(NamedTuple):
    """Steps, and what they took."""

    steps: int
    seconds: float


class Clocked:
    """A call, with a clock around it."""

    def __init__(self, call: Callable[[int], Any]) -> None:
        self.call, self.count, self.seconds = call, 0, 0.0

    def __call__(self, step: int) -> None:
        start = time.perf_counter()
        self.call(step)
        self.count, self.seconds = self.count + 1, self.seconds + time.perf_counter() - start


class TrackerCalls(NamedTuple):
    """One tracker's way of telling: so many calls at each step, or at the end of each stretch of steps, and `settle`."""

    call: Callable[[int], Any]
    at_steps: int = 0
    at_ends: int = 0
    seconds: float = 0.0  # of a turn, at least: whole stretches
    stretch: int = FEW  # steps
    settle: Callable[[int], Any] = lambda step: None
    sent: Callable[[], bool] = lambda: True  # whether all is where it belongs


class Costs(NamedTuple):
    """Of one call in each round: ms by a clock around it, ms that the loop loses by it, and its share of a bare step."""

    calls: list[float]
    whole: list[float]
    shares: list[float]


def rows(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows for the bench."""
    malloc.retain_freed_memory()  # as a training does
    before = torch.get_num_threads()
    torch.set_num_threads(config["threads"])
    try:
        yield from _scalars(config)
        yield from _pictures(config)
        yield from _outages(config)
    finally:
        torch.set_num_threads(before)


def _scalars(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with _tracker() as (track, sent), tempfile.TemporaryDirectory() as folder:
        lightning = MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=folder)
        lightning.log_metrics({"a": 0.0}, 0)

        scalars = {f"train/{i}": torch.tensor(1 / (i + 3)) for i in range(SCALARS)}  # a step makes them anyway

        def told(k: int) -> None:
            track.log_points(scalars, k)

        def logged(k: int) -> None:
            lightning.log_metrics({f"train/{i}": float(k) for i in range(SCALARS)}, k)

        ways = [
            TrackerCalls(told, 1, 0, max(LEAST, config["seconds"]), EVERY, track.mark_saved, sent),
            TrackerCalls(logged, 1),
        ]
        ours, rival = _costs(_work(), ways, config["rounds"], "scalars")
        what = f"tracking a step with {SCALARS} scalars"
        yield _row(f"{what}, the call", ours.calls, rival.calls, "ms", LIGHTNING)
        yield _row(f"{what}, all that a loop of short steps loses", ours.whole, rival.whole, "ms", LIGHTNING)
        long = [way._replace(seconds=LONG) for way in ways]
        ours, rival = _costs(_training(config), long, config["rounds"], "scalars of the default net", LONG)
        shares = [[100 * lost for lost in side.shares] for side in (ours, rival)]
        yield _row(f"{what}, all that a loop of the default net's loses", *shares, "%", LIGHTNING)


def _pictures(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Panels as a validation shows them: four at a time, drawn behind the training thread, and a checkpoint after them."""
    draw = _panel(config["scale"])
    with _tracker() as (track, sent):
        client, run = MlflowClient(track.uri), track.run_id

        def told(k: int) -> None:
            track.log_image("panel", draw, k)

        def logged(k: int) -> None:
            client.log_image(run, draw(), key="x", step=k, synchronous=True)

        ways = [
            TrackerCalls(told, 0, PANELS, max(LEAST, config["seconds"]), EVERY, track.mark_saved, sent),
            TrackerCalls(logged, 0, PANELS),
        ]
        ours, rival = _costs(_work(), ways, config["rounds"], "panels")
    yield _row("tracking a panel, the call", ours.calls, rival.calls, "ms", LOG_IMAGE)
    yield _row("tracking a panel, all that the loop loses", ours.whole, rival.whole, "ms", LOG_IMAGE)


def _costs(
    work: Callable[[], Any], ways: list[TrackerCalls], rounds: int, what: str, least: float = LEAST
) -> list[Costs]:
    """Of each way; a bare turn of `least` seconds stands between any two turns."""
    costs = [Costs([], [], []) for _ in ways]
    _run(work, 1.0)  # warms up
    before, step = _run(work, least), 0
    for k in range(rounds):
        print(f"{what}, round {k + 1} of {rounds}", file=sys.stderr)
        for cost, way in zip(costs, ways, strict=True):
            call = Clocked(way.call)
            told = _run(work, way.seconds, way._replace(call=call), step)
            tail = _until(way.sent, work)
            after = _run(work, least)
            bare = (before.seconds / before.steps + after.seconds / after.steps) / 2
            lost = told.seconds + tail.seconds - (told.steps + tail.steps) * bare
            cost.calls.append(1000 * call.seconds / call.count)
            cost.whole.append(1000 * lost / call.count)
            cost.shares.append(lost / call.count / bare)
            before, step = after, step + told.steps
    return costs


def _run(work: Callable[[], Any], seconds: float, way: TrackerCalls | None = None, step: int = 0) -> Turn:
    """Whole stretches of steps, one at least, until so many seconds are over."""
    way = way or TrackerCalls(lambda k: None, stretch=EVERY)
    start, first = time.perf_counter(), step
    while step == first or time.perf_counter() - start < seconds:
        for _ in range(way.stretch):
            work()
            step += 1
            for _ in range(way.at_steps):
                way.call(step)
        for _ in range(way.at_ends):
            way.call(step)
        way.settle(step)
    return Turn(step - first, time.perf_counter() - start)


def _until(true: Callable[[], bool], work: Callable[[], Any]) -> Turn:
    """Bare steps until it is so; to look takes no time that is counted."""
    steps, seconds = 0, 0.0
    while not true():
        if seconds > PATIENCE:
            raise UserError(f"parts=[track]: MLflow has not got in {PATIENCE:g} s what was told in {LEAST:g} s")
        turn = _run(work, POLL)
        steps, seconds = steps + turn.steps, seconds + turn.seconds
    return Turn(steps, seconds)


def _outages(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Steps of the default net a second in turns with an outage in their middle, and in undisturbed ones by the same
    way to MLflow. Whichever is first in one round is second in the next. The killed server is started again when the
    next turn needs it.
    """
    step, rounds = _training(config), min(config["rounds"], ROUNDS)
    with Server() as server, Gate(server.port) as gate:
        repaired = partial(gate.become, "open")
        ways: dict[str, tuple[str, Callable[[], None], Callable[[], None]]] = {
            "refusing connections": (gate.uri, partial(gate.become, "shut"), repaired),
            "3 s late": (gate.uri, partial(gate.become, "late"), repaired),
            "answering 500": (gate.uri, partial(gate.become, "broken"), repaired),
            "killed": (server.uri, server.kill, lambda: None),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        undisturbed: dict[str, list[float]] = {name: [] for name in ways}
        for k in range(rounds):
            print(f"outages, round {k + 1} of {rounds}", file=sys.stderr)
            for name, (uri, out, back) in ways.items():
                turns = [(undisturbed[name], []), (rates[name], [(OUTAGE / 6, out), (5 * OUTAGE / 6, back)])]
                for found, events in turns if k % 2 == 0 else reversed(turns):
                    server.start()
                    found.append(_rate(step, uri, events))
    for name in ways:
        yield _row(f"training while MLflow is {name}", rates[name], undisturbed[name], "steps/s", UNDISTURBED)


def _rate(step: Callable[[], dict[str, Any]], uri: str, events: list[tuple[float, Callable[[], None]]]) -> float:
    """Of `OUTAGE` seconds; each event comes when so many of them are over."""
    with contextlib.redirect_stderr(io.StringIO()), _tracker(uri) as (track, _):
        start, k = time.perf_counter(), 0
        while time.perf_counter() - start < WARMING:
            k += 1
            track.log_points(step(), k)
        warm, start = k, time.perf_counter()
        while (seconds := time.perf_counter() - start) < OUTAGE:
            if events and seconds >= events[0][0]:
                events.pop(0)[1]()
            k += 1
            track.log_points(step(), k)
            if k % OFTEN == 0:
                track.mark_saved(k)
        for _, event in events:  # of a turn in which a step took that long
            event()
    return (k - warm) / seconds


def _training(config: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """A step of the default net on one batch; what it would tell."""
    model = build_model(config)
    net, optimizer = model.net, model.optimizer(model.net.parameters())
    side = config["data"]["patch"]
    hr = torch.rand(config["data"]["batch"], 3, side, side)
    lr = hr[..., :: config["scale"], :: config["scale"]].contiguous()

    def step() -> dict[str, Any]:
        loss = model.loss.total(model.loss(net(lr), hr))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {f"train/{i}": loss.detach() for i in range(SCALARS)}

    return step


def _panel(scale: int) -> Callable[[], Image.Image]:
    """What draws the panel of a real picture."""
    from skimage import data

    hr = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    hr = hr[..., : 512 // scale * scale, : 512 // scale * scale]
    lr = imresize(hr, 1 / scale)
    return partial(draw_panel, EvaluationOutput(lr, upscale_bicubic(lr, scale), hr), Protocol("edsr", scale, "rgb"))


def _work() -> Callable[[], Any]:
    """About a millisecond."""
    net, x = nn.Conv2d(16, 16, 3), torch.rand(1, 16, 48, 48)

    def step() -> None:
        with torch.no_grad():
            for _ in range(4):
                net(x)

    return step


@contextlib.contextmanager
def _tracker(uri: str | None = None) -> Iterator[tuple[MLflow, Callable[[], bool]]]:
    """A run at work, and whether its MLflow has all of it that may be sent."""
    with tempfile.TemporaryDirectory() as runs:
        folder = Path(runs) / "run"
        folder.mkdir()
        track = MLflow(uri, runs, "bench")
        track.start("bench", folder, {}, [], {})
        try:
            yield track, lambda: Upload(folder, track.uri, track.runs).is_complete
        finally:
            track.close("FINISHED")


def _row(name: str, ours: list[float], rival: list[float], unit: str, rival_is: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "rival": rival, "unit": unit, "rival_is": rival_is}
