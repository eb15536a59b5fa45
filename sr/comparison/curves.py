"""Validation curves of runs, read from their journals: values over steps, over seconds and over images seen."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sr.metric.key import MetricKey
from sr.record.journal_format import CONTROL, JOURNAL_FILE, OPENING, drop_superseded, read_entries
from sr.runtime.error import UserError

# Lines with validation values begin like this; those of every training step, of which there may be millions, do not.
VALIDATION = b'{"points":{"val/'


class CurvePoint(NamedTuple):
    """A value of one run."""

    step: int
    seconds: float  # since the run began, without the time between an interruption and its resumption
    value: float


@dataclass
class BandCurve:
    """A metric of the runs of a group: the mean over them and their range, at each step that one of them validated."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # mean
    images: list[int] = field(default_factory=list)  # patches trained on
    means: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)


def read_curves(folder: Path) -> dict[MetricKey, list[CurvePoint]]:
    """Return the validation curves of a run; {} if it has no journal, or a damaged one."""
    curves: dict[MetricKey, list[CurvePoint]] = defaultdict(list)
    try:
        entries = drop_superseded(read_entries(folder / JOURNAL_FILE, only=(VALIDATION, *CONTROL, *OPENING)))
    except (UserError, OSError):
        return {}
    start = last = None
    for entry in entries:
        time = entry.get("time")
        if time is None:
            continue
        if start is None:
            start = time
        elif "again" in entry:
            start += time - last  # the pause
        last = time
        for name, value in entry.get("points", {}).items():
            key = _parse_name(name)
            if key is not None:
                curves[key].append(CurvePoint(entry["step"], (time - start) / 1000, float(value)))
    return dict(curves)


def _parse_name(name: str) -> MetricKey | None:
    """Return the key of a validation metric, without those of the last step's weights and those of the best step."""
    try:
        key = MetricKey.parse(name)
    except ValueError:
        return None
    return key if key.stage == "val" and not key.checkpoint and key.weights in ("", "bicubic") else None


def join_curves(curves: Sequence[Sequence[CurvePoint]], images_per_step: int) -> BandCurve:
    """Return the mean and the range of several runs' curves, each step over the runs that have a value there."""
    by_step: dict[int, list[CurvePoint]] = defaultdict(list)
    for curve in curves:
        for step, point in {point.step: point for point in curve}.items():  # a resumed run may repeat a step
            by_step[step].append(point)
    joined = BandCurve()
    for step, points in sorted(by_step.items()):
        values = [point.value for point in points]
        joined.steps.append(step)
        joined.seconds.append(statistics.fmean(point.seconds for point in points))
        joined.images.append(step * images_per_step)
        joined.means.append(statistics.fmean(values))
        joined.lows.append(min(values))
        joined.highs.append(max(values))
    return joined


def count_images_per_step(config: dict[str, Any]) -> int:
    """Return the patches of one step, from the flattened config of a run; 1 if it does not say."""
    factors: Iterable[Any] = (config.get(key, 1) for key in ("data.batch", "trainer.accumulate_grad_batches"))
    product = 1
    for factor in factors:
        product *= factor if isinstance(factor, int) else 1
    return product
