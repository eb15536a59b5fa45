"""The charts of a comparison: curves, quality against cost, distortion against perception.

Traces are dicts, as Plotly takes them, so that Plotly is imported only if there is something to draw.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sr.comparison.colors import BASELINE_COLOR, get_color
from sr.comparison.curves import BandCurve, count_images_per_step, join_curves, read_curves
from sr.comparison.run import Group, Measure, Table, TableRow
from sr.metric.key import MetricKey

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PERCEPTION = ("lpips", "dists", "spectrum")  # lower is better
Trace = dict[str, Any]
X_AXES = {"steps": "steps", "seconds": "seconds", "images": "images seen"}
COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds of a 1280×720 output",
    "ms_per_image": "ms per image",
}
BAND_OPACITY = 0.18


def draw_curves(groups: Sequence[Group]) -> "Figure | None":
    """Draw the validation curves of all groups, with bands from the lowest to the highest seed; None without curves."""
    bands = {group.name: _read_bands(group) for group in groups}
    keys = sorted({key for curves in bands.values() for key in curves if key.weights == ""}, key=_sort_key)
    if not keys:
        return None
    traces, owners, axes = [], [], []
    for key in keys:
        curves = [(group.name, get_color(k), bands[group.name][key]) for k, group in enumerate(groups)
                  if key in bands[group.name]]  # fmt: skip
        for name, color, curve in curves:
            for trace, x in _make_traces(name, color, curve):
                traces.append(trace | {"visible": key == keys[0]})
                owners.append(key)
                axes.append(x)
        baseline = next((b for c in bands.values() if (b := c.get(key._replace(weights="bicubic")))), None)
        if baseline:
            longest = max((curve for _, _, curve in curves), key=lambda curve: curve.steps[-1])
            trace, x = _make_baseline(baseline.means[-1], longest)
            traces.append(trace | {"visible": key == keys[0]})
            owners.append(key)
            axes.append(x)
    by_metric = [
        _make_choice(_name_key(key), {"visible": [owner == key for owner in owners]}, y=_name_key(key)) for key in keys
    ]
    by_axis = [_make_choice(title, {"x": [x[name] for x in axes]}, x=title) for name, title in X_AXES.items()]
    return _build_figure(traces, X_AXES["steps"], _name_key(keys[0]), by_axis, by_metric)


def draw_costs(tables: Sequence[Table], groups: Sequence[Group]) -> "Figure | None":
    """Draw PSNR against parameters, multiply-adds and milliseconds; None if no row has a cost."""
    rows = [(table, row) for table in tables for row in table.rows if "psnr" in row.cells]
    costs = {key: title for key, title in COSTS.items() if any(getattr(row, key) for _, row in rows)}
    rows = [(table, row) for table, row in rows if any(getattr(row, key) for key in costs)]
    if not rows:
        return None
    first, shown = next(iter(costs)), rows[0][0]
    traces = [
        _make_point(row, getattr(row, first), "psnr", groups) | {"visible": table is shown} for table, row in rows
    ]
    titles = list(dict.fromkeys(table.title for table, _ in rows))
    by_table = [
        _make_choice(t, {"visible": [table.title == t for table, _ in rows]}, y=f"PSNR, dB, {t}") for t in titles
    ]
    by_cost = [_make_choice(title.split(" of ")[0], {"x": [[getattr(row, key)] for _, row in rows]}, x=title)
               for key, title in costs.items()]  # fmt: skip
    figure = _build_figure(traces, costs[first], f"PSNR, dB, {titles[0]}", by_cost, by_table)
    return figure.update_xaxes(type="log")


def draw_perception(tables: Sequence[Table], groups: Sequence[Group]) -> "Figure | None":
    """Draw PSNR against perceptual metrics, which are better upward; None if there is none."""
    panels = [(table, measure) for table in tables for measure in table.measures if measure.name in PERCEPTION]
    points = [(table, measure, row) for table, measure in panels for row in table.rows
              if {"psnr", measure.name} <= row.cells.keys()]  # fmt: skip
    if not points:
        return None
    traces = [_make_point(row, row.cells["psnr"].mean, measure.name, groups) | {"visible": (table, measure) == points[0][:2]}
              for table, measure, row in points]  # fmt: skip
    choices = []
    for table, measure in dict.fromkeys((id(t), m) for t, m, _ in points):
        title = next(t.title for t, _, _ in points if id(t) == table)
        visible = [(id(t), m) == (table, measure) for t, m, _ in points]
        choices.append(_make_choice(f"{measure.title}, {title}", {"visible": visible}, y=_name_measure(measure)))
    figure = _build_figure(traces, "PSNR, dB", _name_measure(points[0][1]), [], choices)
    return figure.update_yaxes(autorange="reversed")


def _read_bands(group: Group) -> dict[MetricKey, BandCurve]:
    curves = [(read_curves(run.folder), run.config) for run in group.runs if run.folder is not None]
    keys = {key for of_run, _ in curves for key in of_run}
    per_step = count_images_per_step(curves[0][1]) if curves else 1
    return {key: join_curves([of_run[key] for of_run, _ in curves if key in of_run], per_step) for key in keys}


def _sort_key(key: MetricKey) -> tuple[bool, str, str]:
    return key.measure != "psnr", key.measure, key.set


def _name_key(key: MetricKey) -> str:
    return f"{key.measure}, {key.set}"


def _name_measure(measure: Measure) -> str:
    return f"{measure.title}{f', {measure.unit}' if measure.unit else ''} (better upward)"


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
        "fillcolor": color, "opacity": BAND_OPACITY, "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip",
        "legendgroup": name,
    }  # fmt: skip
    return [(band, around), (mean, x)]


def _make_baseline(value: float, longest: BandCurve) -> tuple[Trace, dict[str, list[float]]]:
    x = {axis: [0, getattr(longest, axis)[-1]] for axis in X_AXES}
    line = {"color": BASELINE_COLOR, "dash": "dash"}
    trace = {"type": "scatter", "x": x["steps"], "y": [value, value], "name": "bicubic", "mode": "lines", "line": line}
    return trace | {"hoverinfo": "name+y"}, x


def _make_point(row: TableRow, x: float | None, measure: str, groups: Sequence[Group]) -> Trace:
    index = next((k for k, group in enumerate(groups) if group.name == row.name), None)
    cell = row.cells[measure]
    color = BASELINE_COLOR if index is None else get_color(index)
    return {
        "type": "scatter", "x": [x], "y": [cell.mean], "name": row.name, "mode": "markers",
        "error_y": {"type": "data", "array": [cell.deviation or 0], "visible": bool(cell.deviation)},
        "hovertemplate": f"{row.name}: {cell.mean:.4g}<extra></extra>",
        "marker": {"size": 11, "color": color, "symbol": "circle" if row.kind == "group" else "diamond"},
    }  # fmt: skip


def _make_choice(label: str, restyle: Mapping[str, Any], x: str | None = None, y: str | None = None) -> dict[str, Any]:
    """Return a button or an entry of a menu of Plotly; `x` and `y` are new titles of the axes."""
    titles = {f"{axis}axis.title.text": title for axis, title in (("x", x), ("y", y)) if title}
    ranges = {f"{axis}axis.autorange": True for axis in "x" if x}
    return {"label": label, "method": "update", "args": [dict(restyle), titles | ranges]}


def _build_figure(
    traces: list[Trace], x: str, y: str, buttons: list[dict[str, Any]], choices: list[dict[str, Any]]
) -> "Figure":
    """Return a figure with titles of its axes. Menus are above the plot and the legend below it: a phone has room for both."""
    from plotly.graph_objects import Figure

    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "bgcolor": "#e8ebef", "font": {"color": "#1b1f24"}}
    menus = []
    if len(choices) > 1:
        menus.append({"buttons": choices, "pad": {"b": 44 if len(buttons) > 1 else 6}, **place})
    if len(buttons) > 1:
        menus.append({"buttons": buttons, "type": "buttons", "direction": "right", "pad": {"b": 6}, **place})
    layout = {
        "updatemenus": menus,
        "margin": {"t": 10 + 40 * len(menus), "b": 10, "l": 10, "r": 10},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
    }
    return Figure({"data": traces, "layout": layout})
