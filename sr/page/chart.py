"""Charts of a page: Plotly's figures as JSON, its templates for a light and a dark page, and plotly.js, compressed."""

import base64
import gzip
import json
from functools import lru_cache
from typing import Any

TEMPLATES = {"light": "plotly_white", "dark": "plotly_dark"}
SIZE_AND_STYLE = ("template", "width", "height", "autosize")  # of a layout; the page decides


def convert_figure(figure: Any) -> tuple[str | None, str]:
    """Return the title of a figure, and the figure without it, as JSON for the page's script."""
    tree = json.loads(figure.to_json())  # not to_plotly_json: it has arrays of NumPy
    layout = tree["layout"]
    title = layout.pop("title", {}).get("text")
    for key in SIZE_AND_STYLE:
        layout.pop(key, None)
    return title, to_script_json({"data": tree["data"], "layout": layout})


def to_script_json(content: Any) -> str:
    """Return JSON for a `<script type="application/json">`, which no text in it can end."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


@lru_cache
def compress_plotly() -> str:
    """Return plotly.js of the installed package, by gzip in base64: 2.0 of 4.8 MB. It takes 0.3 s, once in a process."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


@lru_cache
def load_templates() -> str:
    """Return Plotly's templates for a light and a dark page, as JSON."""
    from plotly.io import templates

    return to_script_json({scheme: templates[name].to_plotly_json() for scheme, name in TEMPLATES.items()})
