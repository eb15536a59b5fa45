"""Compare the metrics of two runs: equal to the last bit, equal within a tolerance, or different, and from which step on."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sr.record.journal_format import JOURNAL_FILE, list_points
from sr.record.machine import MACHINE_METRICS
from sr.record.result import TrainingResult, read_run_result
from sr.reproduction.outcome import CLOSE, DIFFERENT, EQUAL, Outcome
from sr.track.fetch_run import convert_points


class Point(NamedTuple):
    """One logged value."""

    name: str
    step: int
    value: float


def read_points(folder: Path) -> Iterator[Point]:
    """Yield the logged values of a run, without those that a resumed run replaced.

    A run without a journal (track=none) has only the last metrics, in its summary.
    """
    if (folder / JOURNAL_FILE).exists():
        yield from (Point(*point) for point in list_points(folder))
        return
    result = read_run_result(folder)
    if isinstance(result, TrainingResult):
        for kind, metrics in (("metrics", result.metrics), ("bicubic", result.bicubic)):
            yield from (Point(f"{kind}/{name}", result.steps, value) for name, value in metrics.items())


def select_trackable(points: Iterable[Point]) -> Iterator[Point]:
    """Yield the points as a tracking server stores them: finite values only, under its names."""
    return (Point(*point) for point in convert_points(points))


def compare_metrics(
    original: Iterable[Point], repetition: Iterable[Point], tolerance: float, last_step: int | None = None
) -> list[Outcome]:
    """Return one outcome for each metric, up to `last_step`, without those that depend on the machine's speed."""
    first, second = (_group_by_name(points, last_step) for points in (original, repetition))
    return [_compare_values(name, first.get(name, {}), second.get(name, {}), tolerance) for name in {**first, **second}]


def compute_relative_difference(a: float, b: float) -> float:
    """Return |a - b| as a share of the larger one; infinity if one of them is not finite and they are not equal."""
    if a == b:
        return 0.0
    return abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else math.inf


def _group_by_name(points: Iterable[Point], last_step: int | None) -> dict[str, dict[int, float]]:
    """Return name -> step -> value."""
    values: dict[str, dict[int, float]] = {}
    for name, step, value in points:
        if not MACHINE_METRICS.fullmatch(name) and (last_step is None or step <= last_step):
            values.setdefault(name, {})[step] = value
    return values


def _compare_values(name: str, original: dict[int, float], repetition: dict[int, float], tolerance: float) -> Outcome:
    kind, largest, detail = EQUAL, 0.0, ""
    for step in sorted({*original, *repetition}):
        if step not in original or step not in repetition:
            missing = f"step {step} is only in the {'run' if step in original else 'repetition'}"
            return Outcome(name, DIFFERENT, len(original), largest, detail or missing)
        a, b = original[step], repetition[step]
        if a == b or (math.isnan(a) and math.isnan(b)):
            continue
        first = f"from step {step} on ({a!r} in the run, {b!r} in the repetition)"
        detail = detail or first
        difference = compute_relative_difference(a, b)
        if difference > tolerance and kind != DIFFERENT:
            kind, detail = DIFFERENT, first
        largest = max(largest, difference)
        kind = CLOSE if kind == EQUAL else kind
    return Outcome(name, kind, len(original), largest, detail)
