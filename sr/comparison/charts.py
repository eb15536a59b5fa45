"""The charts of a comparison: curves, quality against cost, distortion against perception."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sr.comparison.run import Group, Measure, Table, TableRow
from sr.page.colors import BASELINE_COLOR, get_color
from sr.page.curves import draw_curves
from sr.page.menus import Trace, build_figure, make_choice
from sr.track.curves import join_runs, read_curves

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PERCEPTION = ("lpips", "dists", "spectrum")  # lower is better
COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds of a 1280×720 output",
    "ms_per_image": "ms per image",
    "ntire_score": "NTIRE score",
}
MAX_CURVES = 24  # groups; more lines cannot be read


def draw_group_curves(groups: Sequence[Group]) -> "Figure | None":
    """Draw the validation curves of the first MAX_CURVES groups; None without curves."""
    lines = []
    for group in groups[:MAX_CURVES]:
        runs = [(read_curves(run.folder), run.config) for run in group.runs if run.folder is not None]
        lines.append(join_runs(group.name, runs))
    return draw_curves(lines)


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
        make_choice(t, {"visible": [table.title == t for table, _ in rows]}, y=f"PSNR, dB, {t}") for t in titles
    ]
    by_cost = [make_choice(title.split(" of ")[0], {"x": [[getattr(row, key)] for _, row in rows]}, x=title)
               for key, title in costs.items()]  # fmt: skip
    figure = build_figure(traces, costs[first], f"PSNR, dB, {titles[0]}", by_cost, by_table)
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
        choices.append(make_choice(f"{measure.title}, {title}", {"visible": visible}, y=_name_measure(measure)))
    figure = build_figure(traces, "PSNR, dB", _name_measure(points[0][1]), [], choices)
    return figure.update_yaxes(autorange="reversed")


def _name_measure(measure: Measure) -> str:
    return f"{measure.title}{f', {measure.unit}' if measure.unit else ''} (better upward)"


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
