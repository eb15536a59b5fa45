"""The page of `sr.serve`: drop an image, compare it with the result, download that; one HTML document that loads nothing else.

It sends the image to `POST /upscale` of the server that it came from, and shows what `GET /info` says about the network.
"""

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

from sr.page.document import Page
from sr.page.script import STAGE_SCRIPTS, join_scripts

ASSETS = Path(__file__).parent / "assets"
# In an order in which each file only needs those before it.
SCRIPTS = "bicubic image request queue divider stage rows intake upscaler".split()
SCRIPT_TAG = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@lru_cache
def render_page() -> str:
    """Return the HTML of the page, which is the same for every network."""
    page = Page("Upscale images", "…", is_served=True)
    page.styles.append((ASSETS / "upscaler.css").read_text(encoding="utf-8"))
    page.scripts.append(join_scripts([*STAGE_SCRIPTS, *(ASSETS / f"{name}.js" for name in SCRIPTS)]))
    html = (ASSETS / "upscaler.html").read_text(encoding="utf-8")
    page.add_section("Images").add_html(Markup(html))  # noqa: S704  a file of this package
    return page.render()


@lru_cache
def build_security_policy() -> str:
    """Return the page's Content-Security-Policy: only its own scripts run, and requests go to its own server."""
    digests = [hashlib.sha256(script.encode()).digest() for script in SCRIPT_TAG.findall(render_page())]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
