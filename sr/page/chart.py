"""Charts of a page: Plotly's figures as JSON, its template, and plotly.js, compressed."""

import base64
import gzip
import json
from functools import lru_cache
from typing import Any

TEMPLATE, GRID_COLOR = "plotly_white", "#d5dae1"  # the template's own grid can hardly be seen on a dark page
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
def load_template() -> str:
    """Return Plotly's template for a white page, as JSON."""
    from plotly.io import templates

    template = templates[TEMPLATE].to_plotly_json()
    for axis in ("xaxis", "yaxis"):
        template["layout"][axis] |= {"gridcolor": GRID_COLOR, "zerolinecolor": GRID_COLOR}
    return to_script_json(template)
