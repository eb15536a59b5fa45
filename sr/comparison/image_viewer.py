"""The image viewer of a page: its HTML, style sheet and script, and the data that it shows."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from sr.page.script import STAGE_SCRIPTS, join_scripts

ASSETS = Path(__file__).parent / "assets"
# In an order in which each file only needs those before it, and those of every stage.
SCRIPTS = "raster error_map pane magnifier figure bars blind keys position controls viewer".split()


def render_viewer(data: dict[str, Any]) -> Markup:
    """Return the HTML of the viewer; `data` are described in assets/viewer.js."""
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    return Markup(environment.get_template("viewer.html").render(data=data))  # noqa: S704  escaped by the template


@lru_cache
def read_script() -> str:
    """Return the viewer's JavaScript, in a scope of its own."""
    return join_scripts([*STAGE_SCRIPTS, *(ASSETS / f"{name}.js" for name in SCRIPTS)])


@lru_cache
def read_style() -> str:
    """Return the viewer's style sheet; its colors are variables of the page's."""
    return (ASSETS / "viewer.css").read_text(encoding="utf-8")
