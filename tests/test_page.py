"""Pages that sr writes: what a file holds, and how it looks and sorts in a browser, opened as a file and in MLflow's frame."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from conftest import wait_for
from markupsafe import Markup

from sr.page.document import Page, PageCell

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FRAME = """content => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.src = URL.createObjectURL(new Blob([content], { type: "text/html" }));
  Object.assign(frame.style, { width: "100%", height: "900px" });
  document.body.append(frame);
}"""  # as MLflow shows an artifact


def make_page() -> Page:
    page = Page("Sweep <b>", "12 trials", {"commit": "ea6cbd0"})
    section = page.add_section("Trials & runs")
    section.add_text("a </script> & b")
    section.add_command("python -m sr.run 'a=<1>'")
    section.add_table(
        "Trials",
        ["trial", "psnr", "run"],
        [
            [1, 31.5, PageCell("first", "first", "../../run-1")],
            [2, 9.25, PageCell("second", "second", "https://a.b/#/r")],
            [10, None, ""],
        ],
    )
    return page


def add_charts(page: Page) -> None:
    section = page.add_section("Charts")
    history = go.Figure(go.Scatter(x=[1, 2], y=[3.0, 4.0]), {"title": "History </script>", "width": 5000})
    section.add_chart(history)
    section.add_chart(go.Figure(go.Bar(x=[1, 2], y=["a", "b"], orientation="h")), "Importances", is_half=True)


def test_texts_are_escaped_and_nothing_may_be_loaded() -> None:
    html = make_page().render()
    assert "<h1>Sweep &lt;b&gt;</h1>" in html
    assert "a &lt;/script&gt; &amp; b" in html
    assert "default-src 'none'; script-src 'unsafe-inline';" in html
    assert not re.search(r"""(src|@import|url\()\s*=?\s*["']?https?:""", html)
    assert '<a href="#trials-runs">' not in html  # a single section needs no navigation
    assert len(html) < 20_000
    assert html == make_page().render()


def test_plotly_is_in_a_page_once_and_compressed() -> None:
    page = make_page()
    add_charts(page)
    html = page.render()
    assert html.count('id="plotly"') == 1
    assert 1_500_000 < len(html) < 2_200_000
    assert "History \\u003c/script>" not in html  # a title is a caption, outside the figure
    assert "<figcaption>History &lt;/script&gt;</figcaption>" in html
    assert "5000" not in re.search(r'<script type="application/json">(.*?)</script>', html).group(1)


def test_sections_of_one_title_have_addresses_of_their_own() -> None:
    page = Page("x")
    assert [page.add_section(title).id for title in ("Set 5", "Set 5", "Set-5", "Other")] == [
        "set-5", "set-5-2", "set-5-3", "other"]  # fmt: skip


@pytest.mark.parametrize("address", ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "vbscript:x"])
def test_a_link_runs_no_script(address: str) -> None:
    with pytest.raises(ValueError, match="expected an address of a page"):
        PageCell("x", href=address)


def test_html_that_was_not_escaped_is_refused() -> None:
    section = Page("x").add_section("y")
    section.add_html(Markup("<hr>"))
    with pytest.raises(TypeError):
        section.add_html("<hr>")


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs a browser: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def html() -> str:
    page = make_page()
    add_charts(page)
    return page.render()


def watch(tab: Any) -> list[str]:
    """Return a list that collects errors and warnings of the console, and addresses outside the file."""
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    return problems


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "scheme", "width"),
    [("file", "light", 1366), ("file", "dark", 390), ("frame", "dark", 1366), ("frame", "light", 390)],
)
def test_a_page_in_a_browser(browser: Any, html: str, tmp_path: Path, where: str, scheme: str, width: int) -> None:
    is_dark = scheme == "dark"
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems = watch(tab)
    if where == "file":
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        tab.goto(f"file://{tmp_path}/page.html")
        view = tab
    else:
        tab.goto("about:blank")
        tab.evaluate(FRAME, html)
        view = tab.frames[-1]

    # Charts are as wide as the page, which does not scroll sideways, and in its colors.
    view.wait_for_selector(".plot .scatterlayer .point")
    view.wait_for_selector(".plot .barlayer .point")
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.evaluate(
        "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg').clientWidth === p.clientWidth)"
    )
    assert view.evaluate("getComputedStyle(document.querySelector('.plot')).filter").startswith("invert") == is_dark
    background = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if is_dark else "rgb(255, 255, 255)")

    # A click and a key sort; a missing value stays last.
    button = view.locator("thead button").nth(1)
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent)"
    button.click()
    assert view.evaluate(column) == ["9.25", "31.5", "–"]
    button.press("Enter")
    assert view.evaluate(column) == ["31.5", "9.25", "–"]
    assert view.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"

    # A frame without an origin reaches no file next to the page.
    assert view.locator("tbody a").all_inner_texts() == (["first", "second"] if where == "file" else ["second"])
    view.locator("button.copy").click()
    wait_for(lambda: view.locator("button.copy").inner_text() in ("Copied", "Selected"), 60)
    assert problems == []
    tab.close()
