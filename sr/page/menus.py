"""Figures with menus: what a chart shows, and over which axis, is chosen on the page.

Traces are dicts, as Plotly takes them, so that Plotly is imported only if there is something to draw.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Trace = dict[str, Any]


def make_choice(
    label: str,
    restyle: Mapping[str, Any],
    x: str | None = None,
    y: str | None = None,
    y_range: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return a button or an entry of a menu of Plotly; `x` and `y` are new titles of the axes, `y_range` a new range."""
    titles = {f"{axis}axis.title.text": title for axis, title in (("x", x), ("y", y)) if title}
    ranges: dict[str, Any] = {"xaxis.autorange": True} if x else {}
    if y_range:
        ranges["yaxis.range"] = list(y_range)
    return {"label": label, "method": "update", "args": [dict(restyle), titles | ranges]}


def build_figure(
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
