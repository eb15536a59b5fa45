"""One self-contained HTML document: sections of text, tables, commands and charts, in a file that loads nothing.

It is opened by a double click, from a web server, and in MLflow's artifact viewer, which is a frame without an origin.
Its Content-Security-Policy forbids every network request. The same content gives the same bytes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from sr.page.chart import compress_plotly, convert_figure, load_template

ASSETS = Path(__file__).parent / "assets"
CHART_HEIGHT = 420  # CSS pixels
SAFE_ADDRESS = re.compile(r"(https?:|file:|#|(?![a-z][a-z0-9+.-]*:))", re.IGNORECASE)  # or a relative path; no script


@dataclass(frozen=True)
class PageCell:
    """A cell of a table: its text, the value to sort by (None: it stays last), and a link to a page or a relative path."""

    text: str
    sort: float | str | None = None
    href: str | None = None

    def __post_init__(self) -> None:
        if self.href is not None and not SAFE_ADDRESS.match(self.href):
            raise ValueError(f"expected an address of a page or a path (found {self.href})")


class Section:
    """A section of the document, filled from top to bottom."""

    def __init__(self, title: str) -> None:
        self.title, self.parts, self.has_charts = title, [], False
        self.id = re.sub(r"\W+", "-", title.lower()).strip("-")

    def add_text(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._add("text", text=text)

    def add_html(self, html: Markup) -> None:
        """Add HTML, from a template with autoescape; never a text of a user or of a file."""
        if not isinstance(html, Markup):
            raise TypeError("expected Markup, which is HTML that needs no escape")
        self.parts.append(html)

    def add_command(self, command: str) -> None:
        """Add a text to copy, with its button."""
        self._add("command", command=command)

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add a list of names and values."""
        self._add("facts", facts=facts)

    def add_table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table that a click or a key sorts by a column. Cells are `PageCell`, text, numbers, or None (empty).

        `title` names the table for a screen reader. The first cell of a row is its header.
        """
        cells = [[_make_cell(value) for value in row] for row in rows]
        numeric = [all(not isinstance(row[k].sort, str) for row in cells) for k in range(len(header))]
        self._add("table", title=title, header=header, rows=cells, numeric=numeric)

    def add_chart(
        self, figure: Any, title: str | None = None, height: int = CHART_HEIGHT, is_half: bool = False
    ) -> None:
        """Add a figure of Plotly as wide as the page and `height` CSS pixels high, in the colors of the page.

        `title` is its caption (None: the title of the figure, which is taken out of it). On a wide page two charts that
        are `is_half` stand side by side. Kinds of charts that need WebGL (`scattergl`, `parcoords`) are not drawn: they
        evaluate code, which the page forbids.
        """
        own_title, content = convert_figure(figure)
        self._add("chart", title=title or own_title or "Chart", height=height, figure=content, is_half=is_half)
        self.has_charts = True

    def _add(self, template: str, **values: Any) -> None:
        self.parts.append(render(template, **values))


@dataclass
class Page:
    """The document: `title`, a line below it, sections, and a footer that says where it comes from.

    `styles` and `scripts` are added to those of every page: CSS, and JavaScript that runs after the page is parsed. Scripts
    of a page that `is_served` may send requests to the server that it came from, and to no other.
    """

    title: str
    lead: str = ""
    footer: Mapping[str, Any] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    is_served: bool = False

    def add_section(self, title: str) -> Section:
        """Add a section, and return it to be filled."""
        section = Section(title)
        ids = {other.id for other in self.sections}
        if section.id in ids:
            section.id = next(f"{section.id}-{k}" for k in range(2, len(ids) + 3) if f"{section.id}-{k}" not in ids)
        self.sections.append(section)
        return section

    def render(self) -> str:
        """Return the HTML: about 10 kB and its content, and 2 MB more for Plotly if it has a chart."""
        has_charts = any(section.has_charts for section in self.sections)
        scripts = [_read_asset(name) for name in ("page.js", "charts.js")[: 1 + has_charts]]
        return render(
            "page",
            page=self,
            styles=[_read_asset("page.css"), *self.styles],
            scripts=[*scripts, *self.scripts],
            plotly=compress_plotly() if has_charts else None,
            plotly_template=load_template() if has_charts else None,
        )


def render(template: str, **values: Any) -> Markup:
    """Return the HTML of a template `assets/NAME.html`; every value is escaped unless it is Markup."""
    return Markup(_load_environment().get_template(f"{template}.html").render(**values))  # noqa: S704 escaped there


def _make_cell(value: Any) -> PageCell:
    if isinstance(value, PageCell):
        return value
    if value is None:
        return PageCell("–")
    if isinstance(value, int | float):
        text = f"{value:.5g}" if isinstance(value, float) else str(value)
        return PageCell(text, value if math.isfinite(value) else None)
    return PageCell(str(value), str(value))


@lru_cache
def _load_environment() -> Environment:
    return Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True)


@lru_cache
def _read_asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
