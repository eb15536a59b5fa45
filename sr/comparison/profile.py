"""Compare the profiles of groups: where does each fall below bicubic interpolation if the input changes?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sr.comparison.run import Group, Table
from sr.page.colors import BASELINE_COLOR, get_color
from sr.page.menus import Trace, build_figure, make_choice
from sr.profile.row import CLEAN, ProfileRow, average_profiles, describe_limits

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def list_profiles(table: Table) -> dict[str, list[ProfileRow]]:
    """Return the profile of each group that was evaluated with `profile=…`, the mean over its runs that were."""
    groups = [row for row in table.rows if row.kind == "group"]
    profiles = {row.name: [score.profile for score in row.scores if score.profile] for row in groups}
    return {name: rows for name, of_runs in profiles.items() if (rows := average_profiles(of_runs))}


def add_profile_notes(table: Table) -> None:
    """Add a note for each group that has a profile."""
    table.notes += [describe_limits(name, rows) for name, rows in list_profiles(table).items()]


def draw_profiles(tables: Sequence[Table], groups: Sequence[Group]) -> "Figure | None":
    """Draw the PSNR above that of bicubic interpolation of the same input; a menu chooses the set and what changes."""
    colors = {group.name: get_color(k) for k, group in enumerate(groups)}
    traces: list[Trace] = []
    owners: list[str] = []
    for table in tables:
        profiles = list_profiles(table)
        kinds = dict.fromkeys(row["kind"] for rows in profiles.values() for row in rows if row["kind"] != CLEAN)
        for kind in kinds:
            of_kind = {name: [r for r in rows if r["kind"] in (CLEAN, kind)] for name, rows in profiles.items()}
            lines = [_make_line(name, colors[name], rows) for name, rows in of_kind.items()]
            traces += [*lines, _make_baseline(max((line["x"] for line in lines), key=len))]
            owners += [f"{kind}, {table.title}"] * (len(lines) + 1)
    if not traces:
        return None
    titles = list(dict.fromkeys(owners))
    traces = [trace | {"visible": owner == titles[0]} for trace, owner in zip(traces, owners, strict=True)]
    choices = [make_choice(title, {"visible": [owner == title for owner in owners]}) for title in titles]
    figure = build_figure(traces, "input, from clean to degraded", "PSNR above bicubic, dB", [], choices)
    return figure.update_xaxes(type="category")  # qualities and kernels, in the order of their effect


def _make_line(name: str, color: str, rows: Sequence[ProfileRow]) -> Trace:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "line": {"color": color},
        "x": [row["label"] for row in rows], "y": [row["psnr"] - row["bicubic_psnr"] for row in rows],
        "hovertemplate": f"{name}: %{{y:+.2f}} dB<extra></extra>",
    }  # fmt: skip


def _make_baseline(labels: Sequence[str]) -> Trace:
    line = {"color": BASELINE_COLOR, "dash": "dash"}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "bicubic",
        "line": line,
        "x": list(labels),
        "y": [0.0] * len(labels),
    }
