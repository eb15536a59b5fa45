"""Measure the training speed while the tracker's server is killed, slow or broken, against the speed while it answers."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sr.benchmark.fault_proxy import FaultProxy
from sr.benchmark.row import Row
from sr.benchmark.tracked_loop import create_training_step
from sr.track.comparison import open_tracker
from sr.track.local_server import LocalServer

ROUND_SECONDS = 30.0  # of which an outage lasts from the first sixth to the last
WARMUP_SECONDS = 8.0  # before a round: a machine that was idle is faster for a while
CHECKPOINT_INTERVAL = 50  # steps, so that there is always something to send
MAX_ROUNDS = 3
REFERENCE = "the same loop while the server answers"

Event = tuple[float, Callable[[], object]]  # seconds after the start of a round, what happens then


def compare_outages(config: dict[str, Any]) -> Iterator[Row]:
    """Yield the rates (steps/s) of the default net in rounds with an outage, and without one by the same address.

    The order of the two alternates. A killed server is started again when the next round needs it.
    """
    step, rounds = create_training_step(config), min(config["rounds"], MAX_ROUNDS)
    with LocalServer() as server, FaultProxy(server.port) as proxy:
        restore = partial(proxy.set_mode, "open")
        outages: dict[str, tuple[str, Callable[[], object], Callable[[], object]]] = {
            "refusing connections": (proxy.uri, partial(proxy.set_mode, "closed"), restore),
            "3 s late": (proxy.uri, partial(proxy.set_mode, "delayed"), restore),
            "answering 500": (proxy.uri, partial(proxy.set_mode, "failing"), restore),
            "killed": (server.uri, server.kill, lambda: None),
        }
        rates: dict[str, list[float]] = {name: [] for name in outages}
        reference: dict[str, list[float]] = {name: [] for name in outages}
        for k in range(rounds):
            print(f"outages, round {k + 1} of {rounds}", file=sys.stderr)
            for name, (uri, begin, end) in outages.items():
                events = [(ROUND_SECONDS / 6, begin), (5 * ROUND_SECONDS / 6, end)]
                sides: list[tuple[list[float], list[Event]]] = [(reference[name], []), (rates[name], events)]
                for side, side_events in sides if k % 2 == 0 else reversed(sides):
                    server.start()
                    side.append(_measure_rate(step, uri, side_events))
    for name in outages:
        yield Row(f"training while the tracker's server is {name}", rates[name], reference[name], "steps/s", REFERENCE)


def _measure_rate(step: Callable[[], dict[str, Any]], uri: str, events: list[Event]) -> float:
    """Train and log for `ROUND_SECONDS`, with the events at their times; return steps per second."""
    with contextlib.redirect_stderr(io.StringIO()), open_tracker(uri) as (tracker, _):
        start, k = time.perf_counter(), 0
        while time.perf_counter() - start < WARMUP_SECONDS:
            k += 1
            tracker.log_points(step(), k)
        warmup_steps, start = k, time.perf_counter()
        while (seconds := time.perf_counter() - start) < ROUND_SECONDS:
            if events and seconds >= events[0][0]:
                events.pop(0)[1]()
            k += 1
            tracker.log_points(step(), k)
            if k % CHECKPOINT_INTERVAL == 0:
                tracker.mark_saved(k)
        for _, event in events:  # if one step took until the end
            event()
    return (k - warmup_steps) / seconds
