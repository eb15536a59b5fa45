"""The curves of a run, read from its journal: values over steps, over seconds and over images seen."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr.metric.key import MetricKey
from sr.page.curves import BandCurve, CurveGroup, CurvePoint, join_curves
from sr.record.journal_format import CONTROL, JOURNAL_FILE, OPENING, Entry, drop_superseded, read_entries
from sr.runtime.error import UserError

# Lines with validation values begin like this; those of every training step, of which there may be millions, do not.
VALIDATION, TRAINING = b'{"points":{"val/', b'{"points":{"train/'
LOSS = "train/loss"
MAX_LOSS_POINTS = 300  # of a curve; each is the mean of as many steps as it takes


@dataclass
class RunCurves:
    """The curves of one run, by the title of what they show: PSNR first, losses last."""

    points: dict[str, list[CurvePoint]] = field(default_factory=dict)
    bicubic: dict[str, float] = field(default_factory=dict)


def read_curves(folder: Path, with_losses: bool = False) -> RunCurves:
    """Return the validation curves of a run and, if asked for, its losses; none without a journal, or with a damaged one."""
    values: dict[MetricKey | str, list[CurvePoint]] = defaultdict(list)
    kinds = (VALIDATION, TRAINING) if with_losses else (VALIDATION,)
    try:
        entries = drop_superseded(read_entries(folder / JOURNAL_FILE, only=(*kinds, *CONTROL, *OPENING)))
    except (UserError, OSError):
        return RunCurves()
    for entry, seconds in _list_times(entries):
        for name, value in entry.get("points", {}).items():
            key = _parse_name(name)
            if key is not None:
                values[key].append(CurvePoint(entry["step"], seconds, float(value)))
    curves = RunCurves()
    for key in sorted((key for key in values if isinstance(key, MetricKey)), key=_get_rank):
        if key.weights == "bicubic":
            curves.bicubic[_format_title(key)] = values[key][-1].value
        else:
            curves.points[_format_title(key)] = values[key]
    curves.points |= {name: _thin_out(values[name]) for name in sorted(key for key in values if isinstance(key, str))}
    return curves


def join_runs(name: str, runs: list[tuple[RunCurves, dict[str, Any]]]) -> CurveGroup:
    """Return the curves of runs of one method as a line of a chart; each run comes with its flattened config."""
    titles = dict.fromkeys(title for curves, _ in runs for title in curves.points)
    per_step = count_images_per_step(runs[0][1]) if runs else 1
    joined: dict[str, BandCurve] = {
        title: join_curves([curves.points[title] for curves, _ in runs if title in curves.points], per_step)
        for title in titles
    }
    baselines = {title: value for curves, _ in runs for title, value in curves.bicubic.items()}
    return CurveGroup(name, joined, baselines)


def count_images_per_step(config: dict[str, Any]) -> int:
    """Return the patches of one step, from the flattened config of a run; 1 if it does not say."""
    factors = [config.get(key, 1) for key in ("data.batch", "trainer.accumulate_grad_batches")]
    product = 1
    for factor in factors:
        product *= factor if isinstance(factor, int) else 1
    return product


def _list_times(entries: list[Entry]) -> list[tuple[Entry, float]]:
    """Return the entries with the seconds since the run began, without the pause before a run was resumed."""
    timed, start, last = [], None, None
    for entry in entries:
        if "time" not in entry:
            continue
        time = entry["time"]
        if start is None:
            start = time
        elif "again" in entry:
            start += time - last
        last = time
        timed.append((entry, (time - start) / 1000))
    return timed


def _parse_name(name: str) -> MetricKey | str | None:
    """Return the key of a validation metric or the name of a loss; not those of the last step's weights or the best step."""
    if name.startswith(LOSS):
        return name
    try:
        key = MetricKey.parse(name)
    except ValueError:
        return None
    return key if key.stage == "val" and not key.checkpoint and key.weights in ("", "bicubic") else None


def _get_rank(key: MetricKey) -> tuple[bool, str, str]:
    return key.measure != "psnr", key.measure, key.set


def _format_title(key: MetricKey) -> str:
    return f"{key.measure}, {key.set}"


def _thin_out(points: list[CurvePoint]) -> list[CurvePoint]:
    """Return at most MAX_LOSS_POINTS points, each the mean of neighbors, at the last of their steps."""
    size = -(-len(points) // MAX_LOSS_POINTS)
    parts = [points[k : k + size] for k in range(0, len(points), size)] if size else []
    return [part[-1]._replace(value=sum(point.value for point in part) / len(part)) for part in parts]
