"""uncertainty.html: the calibration of the spread against the true error, and maps of single images."""

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup
from PIL import Image

from sr.metric.calibration import STEPS
from sr.page.colors import BASELINE_COLOR, get_color
from sr.page.document import Page, PageCell
from sr.page.menus import build_figure
from sr.record.result import Metrics, UncertaintyResult

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PAGE_FILE = "uncertainty.html"
COLUMNS = {"spread": "spread", "error": "error", "rank_correlation": "rank correlation",
           "top_share": "error in the top 10 %", "best_share": "best possible", "lr_error": "LR error"}  # fmt: skip
WARNING = (
    "A large spread says that the network is unsure. A small one does not prove that the result is true: what a network has "
    "learned wrongly, it invents with a small spread."
)
STYLE = "img.maps { max-width: 100%; height: auto; image-rendering: auto; }"
_SHEET = Markup('<h3>{}</h3><img class="maps" src="data:image/webp;base64,{}" alt="Maps of {}">')


def render_page(
    title: str, results: Mapping[str, UncertaintyResult], sheets: Mapping[str, dict[str, Image.Image]]
) -> str:
    """Return the HTML of the page; results and sheets are by set, sheets by image as well."""
    page = Page(f"Uncertainty of {title}", WARNING, styles=[STYLE])
    section = page.add_section("Calibration")
    section.add_chart(draw_calibration(results), "Error of the pixels of each tenth, by spread; levels of 8 bits")
    section.add_chart(draw_captured(results), "Share of the squared error in the pixels of the largest spread")
    rows = [[name, *_make_cells(result.metrics)] for name, result in results.items()]
    section.add_table("Means over the images", ["set", *COLUMNS.values()], rows)
    for name, result in results.items():
        section = page.add_section(name)
        section.add_facts(result.protocol)
        cells = [[image, *_make_cells(values)] for image, values in result.per_image.items()]
        section.add_table(f"Images of {name}", ["image", *COLUMNS.values()], cells)
        for image, sheet in sheets.get(name, {}).items():
            section.add_html(_SHEET.format(image, _encode(sheet), image))
    return page.render()


def draw_calibration(results: Mapping[str, UncertaintyResult]) -> "Figure":
    """Draw the error over the spread of the tenths of the pixels; on the dotted line both are equal."""
    traces = [
        {"type": "scatter", "mode": "lines+markers", "name": name, "line": {"color": get_color(k)},
         "x": [spread for spread, _ in result.groups], "y": [error for _, error in result.groups]}
        for k, (name, result) in enumerate(results.items())
    ]  # fmt: skip
    largest = max(spread for result in results.values() for spread, _ in result.groups)
    equal = {"type": "scatter", "mode": "lines", "name": "error = spread", "x": [0, largest], "y": [0, largest],
             "line": {"dash": "dot", "color": BASELINE_COLOR}}  # fmt: skip
    return build_figure([*traces, equal], "spread, levels", "true error, levels", [], [])


def draw_captured(results: Mapping[str, UncertaintyResult]) -> "Figure":
    """Draw how much of the squared error the pixels of the largest spread have; on the dotted line the spread says nothing."""
    shares = [k / STEPS for k in range(STEPS + 1)]
    traces = [
        {"type": "scatter", "mode": "lines", "name": name, "x": shares, "y": result.curve,
         "line": {"color": get_color(k)}}
        for k, (name, result) in enumerate(results.items())
    ]  # fmt: skip
    nothing = {"type": "scatter", "mode": "lines", "name": "a map that says nothing", "x": [0, 1], "y": [0, 1],
               "line": {"dash": "dot", "color": BASELINE_COLOR}}  # fmt: skip
    return build_figure([*traces, nothing], "share of the pixels", "share of the squared error", [], [])


def _make_cells(values: Metrics) -> list[PageCell | None]:
    return [PageCell(f"{values[key]:.2f}", values[key]) if key in values else None for key in COLUMNS]


def _encode(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=90)  # a fifth of a PNG
    return base64.b64encode(file.getvalue()).decode()
