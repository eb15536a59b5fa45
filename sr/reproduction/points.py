"""The points of two runs side by side: equal to the last bit, equal within a tolerance, or not, and from which step on."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sr.record.hyperparameters import sanitize_key
from sr.record.journal_format import JOURNAL_FILE, list_points
from sr.record.machine import OF_MACHINE

EQUAL, CLOSE, OTHER = "equal", "close", "other"

Point = tuple[str, int, float]


class Outcome(NamedTuple):
    """Of one metric, one file of weights, or whatever was compared."""

    name: str
    kind: str  # EQUAL, CLOSE or OTHER
    count: int  # of points, or tensors
    gap: float = 0.0  # the largest relative difference
    where: str = ""  # the first difference

    def __str__(self) -> str:
        return f"{self.name}: {self.where}" + (f", at most {self.gap:.1e} of the value" if self.gap else "")


def points(folder: Path) -> Iterator[Point]:
    """Name, step and value of all points of a run that stand; of a run without a journal (track=none), of the last metrics
    that its summary has."""
    return list_points(folder) if (folder / JOURNAL_FILE).exists() else _of_summary(folder / "summary.json")


def _of_summary(path: Path) -> Iterator[Point]:
    summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for kind in ("metrics", "bicubic"):
        for name, value in summary.get(kind, {}).items():
            yield f"{kind}/{name}", summary.get("steps", 0), float(value)


def as_tracked(side: Iterable[Point]) -> Iterator[Point]:
    """As MLflow has them: finite ones, under names that it takes."""
    return ((sanitize_key(name), step, value) for name, step, value in side if math.isfinite(value))


def compare(there: Iterable[Point], here: Iterable[Point], tolerance: float, last: int | None = None) -> list[Outcome]:
    """One outcome a metric; what only machines differ in is left out, and what is said of steps after `last`."""
    first, second = (_by_name(side, last) for side in (there, here))
    return [_outcome(name, first.get(name, {}), second.get(name, {}), tolerance) for name in {**first, **second}]


def _by_name(side: Iterable[Point], last: int | None) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for name, step, value in side:
        if not OF_MACHINE.fullmatch(name) and (last is None or step <= last):
            found.setdefault(name, {})[step] = value
    return found


def _outcome(name: str, there: dict[int, float], here: dict[int, float], tolerance: float) -> Outcome:
    kind, gap, where = EQUAL, 0.0, ""
    for step in sorted({*there, *here}):
        if step not in there or step not in here:
            missing = f"step {step} is {'there' if step in there else 'here'} only"
            return Outcome(name, OTHER, len(there), gap, where or missing)
        a, b = there[step], here[step]
        if a == b or (math.isnan(a) and math.isnan(b)):
            continue
        where = where or f"from step {step} on ({a!r} there, {b!r} here)"
        apart = relative(a, b)
        if apart > tolerance and kind != OTHER:
            kind, where = OTHER, f"from step {step} on ({a!r} there, {b!r} here)"
        gap = max(gap, apart)
        kind = CLOSE if kind == EQUAL else kind
    return Outcome(name, kind, len(there), gap, where)


def relative(a: float, b: float) -> float:
    """The difference as a share of the larger; infinite where one of them is no number."""
    gap = abs(a - b) / max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) and a != b else math.inf
    return 0.0 if a == b else gap
