"""Measure two functions that return the same, in alternating rounds."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sr.benchmark.row import Row

MIN_ROUND_SECONDS = 0.05  # calls that take less are repeated


class Comparison(NamedTuple):
    """A function of ours, and one of another library or of common training code that returns the same."""

    name: str
    sr: Callable[[], Any]
    reference: Callable[[], Any]
    count: int  # items that one call processes
    unit: str  # of the rate: items per second
    reference_name: str


def measure(comparison: Comparison, rounds: int) -> Row:
    """Return the rate of both sides in each round; the side that is measured first alternates."""
    sides = {"sr": comparison.sr, "reference": comparison.reference}
    rates: dict[str, list[float]] = {"sr": [], "reference": []}
    repeats = {
        side: math.ceil(MIN_ROUND_SECONDS / min(measure_seconds(call, 1) for _ in range(3)))
        for side, call in sides.items()
    }
    for k in range(rounds):
        for side in sides if k % 2 == 0 else reversed(sides):
            rates[side].append(comparison.count / measure_seconds(sides[side], repeats[side]))
    return Row(comparison.name, rates["sr"], rates["reference"], comparison.unit, comparison.reference_name)


def measure_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the mean time of one of `repeats` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
