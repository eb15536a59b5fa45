"""Charts of curves over steps, seconds and images seen: one line for each group of runs, with a band of its seeds."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sr.page.colors import BASELINE_COLOR, get_color
from sr.page.menus import Trace, build_figure, make_choice

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

X_AXES = {"steps": "steps", "seconds": "seconds", "images": "images seen"}
BAND_OPACITY = 0.18
MARGIN = 0.05  # above and below the values, as a part of their range


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


@dataclass
class CurveGroup:
    """The curves of one line of a chart, by the title of what they show."""

    name: str
    curves: dict[str, BandCurve]
    baselines: dict[str, float] = field(default_factory=dict)  # of bicubic interpolation


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


def draw_curves(groups: Sequence[CurveGroup]) -> "Figure | None":
    """Draw the curves of all groups; a menu chooses the title, of which the first is shown. None without curves."""
    titles = list(dict.fromkeys(title for group in groups for title in group.curves))
    if not titles:
        return None
    traces, owners, axes = [], [], []
    for title in titles:
        for trace, x in _list_traces(groups, title):
            traces.append(trace | {"visible": title == titles[0]})
            owners.append(title)
            axes.append(x)
    ranges = [_find_range(groups, title) for title in titles]
    by_title = [
        make_choice(title, {"visible": [owner == title for owner in owners]}, y=title, y_range=y_range)
        for title, y_range in zip(titles, ranges, strict=True)
    ]
    by_axis = [make_choice(text, {"x": [x[axis] for x in axes]}, x=text) for axis, text in X_AXES.items()]
    return build_figure(traces, X_AXES["steps"], titles[0], by_axis, by_title).update_yaxes(range=ranges[0])


def _find_range(groups: Sequence[CurveGroup], title: str) -> list[float] | None:
    """Return the range of the y-axis: that of all finite values, None without any.

    The values at step 0 are left out if the others would have less than half of the height, so that the untrained nets do
    not hide the differences between the trained ones.
    """
    curves = [group.curves[title] for group in groups if title in group.curves]
    points = [(step, value) for curve in curves for values in (curve.lows, curve.highs)
              for step, value in zip(curve.steps, values, strict=True)]  # fmt: skip
    points += [(1, group.baselines[title]) for group in groups if title in group.baselines]
    values = [value for _, value in points if math.isfinite(value)]
    later = [value for step, value in points if step > 0 and math.isfinite(value)]
    if later and 0 < max(later) - min(later) < (max(values) - min(values)) / 2:
        values = later
    if not values:
        return None
    margin = MARGIN * (max(values) - min(values)) or 1.0
    return [min(values) - margin, max(values) + margin]


def _list_traces(groups: Sequence[CurveGroup], title: str) -> list[tuple[Trace, dict[str, list[float]]]]:
    """Return what is drawn of one title: each group's line and band, and bicubic, each with its x of all axes."""
    curves = [
        (group.name, get_color(k), group.curves[title]) for k, group in enumerate(groups) if title in group.curves
    ]
    traces = [trace for name, color, curve in curves for trace in _make_traces(name, color, curve)]
    baseline = next((group.baselines[title] for group in groups if title in group.baselines), None)
    if baseline is not None:
        traces.append(
            _make_baseline(baseline, max((curve for _, _, curve in curves), key=lambda curve: curve.steps[-1]))
        )
    return traces


def _make_traces(name: str, color: str, curve: BandCurve) -> list[tuple[Trace, dict[str, list[float]]]]:
    """Return the mean, and the band of several seeds, each with its x of all axes."""
    x = {axis: list(getattr(curve, axis)) for axis in X_AXES}
    mean = {
        "type": "scatter", "x": x["steps"], "y": curve.means, "name": name, "mode": "lines+markers", "legendgroup": name,
        "marker": {"size": 5}, "line": {"color": color}, "hovertemplate": f"{name}: %{{y:.4f}}<extra></extra>",
    }  # fmt: skip
    if curve.lows == curve.highs:
        return [(mean, x)]
    around = {axis: [*values, *values[::-1]] for axis, values in x.items()}
    band = {
        "type": "scatter", "x": around["steps"], "y": [*curve.highs, *curve.lows[::-1]], "fill": "toself",
        "mode": "lines",
        "fillcolor": color, "opacity": BAND_OPACITY, "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip",
        "legendgroup": name,
    }  # fmt: skip
    return [(band, around), (mean, x)]


def _make_baseline(value: float, longest: BandCurve) -> tuple[Trace, dict[str, list[float]]]:
    x = {axis: [0, getattr(longest, axis)[-1]] for axis in X_AXES}
    line = {"color": BASELINE_COLOR, "dash": "dash"}
    trace = {"type": "scatter", "x": x["steps"], "y": [value, value], "name": "bicubic", "mode": "lines", "line": line}
    return trace | {"hoverinfo": "name+y"}, x
