"""JavaScript of a page: several files as one script, and those that pages with zoomable images share."""

from collections.abc import Iterable
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
# Zoom and position of an image; mouse, wheel and touch.
STAGE_SCRIPTS = (ASSETS / "viewport.js", ASSETS / "gestures.js")


def join_scripts(paths: Iterable[Path]) -> str:
    """Return the JavaScript of several files, in this order and in a scope of their own."""
    parts = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    return f'(() => {{\n"use strict";\n{parts}}})();'
