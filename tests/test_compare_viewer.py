"""The image viewer of compare.html in a browser: every control, by mouse, keyboard and touch, and true pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import TIMEOUT, Tab, launch_browser, needs_browser
from conftest import wait_for

from sr.comparison.image_viewer import read_script, read_style, render_viewer
from sr.comparison.scene import ComparedImage, build_scene
from sr.page.curves import BandCurve, CurveGroup, draw_curves
from sr.page.document import Page

pytestmark = [
    pytest.mark.slow,
    needs_browser,
]
SIDE, SCALE = 60, 2
KEYS = ["lr", "bicubic", "g0", "g1", "hr"]
LABELS = {"lr": "LR", "bicubic": "bicubic", "g0": "espcn l1", "g1": "espcn mse", "hr": "HR"}
PSNR = {"dim": (30.0, 30.5), "bright": (28.0, 26.0), "gray": (33.0, 33.1)}  # of g0 and g1, as the runs measured it


def make_image(name: str) -> ComparedImage:
    """Return an image whose results have known errors: g0 is 4 levels too bright everywhere, g1 8 levels too dark."""
    random = np.random.default_rng(len(name))
    hr = random.integers(20, 230, (SIDE, SIDE, 3), dtype=np.uint8)
    lr = random.integers(0, 256, (SIDE // SCALE, SIDE // SCALE, 3), dtype=np.uint8)
    return ComparedImage(name, lr, hr, {"bicubic": hr // 2, "g0": hr + 4, "g1": hr - 8})


IMAGES = {name: make_image(name) for name in PSNR}


def build_page() -> str:
    values = {
        name: {"g0": {"psnr": a, "ssim": 0.9}, "g1": {"psnr": b, "ssim": 0.8}, "bicubic": {"psnr": 25.0}}
        for name, (a, b) in PSNR.items()
    }
    scenes = [build_scene(IMAGES[name], None) for name in PSNR]
    of_set = {"title": "Set3 ×2, protocol edsr", "measure": "levels", "scale": SCALE, "border": SCALE, "sources": KEYS}
    sources = {key: {"label": label, "detail": "", "color": "#888888"} for key, label in LABELS.items()}
    page = Page("Comparison", styles=[read_style()], scripts=[read_script()])
    page.add_section("Images").add_html(
        render_viewer({"sources": sources, "sets": [of_set | {"values": values, "scenes": scenes}]})
    )
    return page.render()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "compare.html"
    path.write_text(build_page(), encoding="utf-8")
    return path


class Viewer(Tab):
    """The page in a browser."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        super().__init__(browser, address, **{"viewport": {"width": 1366, "height": 768}, **options})
        self.page.wait_for_selector(".pane canvas[data-zoom]", state="attached")

    def focus(self) -> None:
        self.page.locator("[data-stage]").focus()

    def press(self, *keys: str) -> None:
        self.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def read_pixel(self, pane: int, x: int, y: int) -> list[int]:
        """Return R, G and B of the canvas where the pane shows the image's pixel (x, y)."""
        return self.page.evaluate(
            """([pane, x, y]) => {
                const canvas = document.querySelectorAll(".pane canvas")[pane], { left, top, zoom } = canvas.dataset;
                const at = (start, position) => Number(start) + Math.floor((position + 0.5) * Number(zoom));
                return [...canvas.getContext("2d").getImageData(at(left, x), at(top, y), 1, 1).data].slice(0, 3);
            }""",
            [pane, x, y],
        )

    def list_views(self) -> list[tuple[str, str, str]]:
        """Return zoom and origin of each pane."""
        return self.page.eval_on_selector_all(
            ".pane canvas", "panes => panes.map(c => [c.dataset.zoom, c.dataset.left, c.dataset.top].map(Number))"
        )

    def list_captions(self) -> list[str]:
        return self.page.locator(".pane figcaption").all_inner_texts()


@pytest.fixture
def viewer(browser: Any, file: Path) -> Iterator[Viewer]:
    viewer = Viewer(browser, file.as_uri())
    yield viewer
    assert viewer.problems == []
    assert [url for url in viewer.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    viewer.context.close()


def show_all(viewer: Viewer) -> None:
    """Show LR too, which is hidden at first when there are many results."""
    viewer.press("1")


def test_pixels_are_those_of_the_files(viewer: Viewer) -> None:
    show_all(viewer)
    assert [caption.split("\n")[0] for caption in viewer.list_captions()] == list(LABELS.values())
    image = IMAGES["dim"]
    for x, y in ((0, 0), (59, 0), (31, 58), (1, 59)):  # outside the box of the magnifier, whose frame covers pixels
        for pane, pixels in enumerate(image.list_images().values()):
            shown = pixels[y // SCALE, x // SCALE] if pane == 0 else pixels[y, x]
            assert viewer.read_pixel(pane, x, y) == shown.tolist(), (pane, x, y)


def test_zoom_and_pan_are_the_same_in_all_panes(viewer: Viewer) -> None:
    (zoom, *_), *_ = viewer.list_views()
    viewer.press("+", "+", "+")
    views = viewer.list_views()
    assert len(views) == 4 and len({tuple(view) for view in views}) == 1
    assert views[0][0] > zoom and views[0][0] % 1 == 0  # whole: each pixel is a square of one size
    viewer.press("ArrowRight")
    moved = viewer.list_views()
    assert {tuple(view) for view in moved} == {(views[0][0], views[0][1] - 48, views[0][2])}
    box = viewer.page.locator(".pane canvas").first.bounding_box()
    viewer.page.mouse.move(box["x"] + 100, box["y"] + 100)
    viewer.page.mouse.down()
    viewer.page.mouse.move(box["x"] + 130, box["y"] + 120, steps=2)
    viewer.page.mouse.up()
    assert {tuple(view) for view in viewer.list_views()} == {(moved[0][0], moved[0][1] + 30, moved[0][2] + 20)}
    viewer.press("0")
    assert viewer.list_views()[0][0] == zoom
    viewer.page.mouse.wheel(0, -100)  # after a click or a key, the wheel zooms at the pointer
    wait_for(lambda: viewer.list_views()[0][0] > zoom, 60)
    for _ in range(20):
        viewer.press("+")
    assert viewer.list_views()[0][0] == 64
    assert viewer.page.locator("output[data-zoom]").inner_text() == "64 : 1"


def test_slider_shows_a_to_the_left_and_b_to_the_right(viewer: Viewer) -> None:
    viewer.press("l")
    (caption,) = viewer.list_captions()
    assert "espcn l1" in caption and "espcn mse" in caption
    image = IMAGES["dim"].results
    assert viewer.read_pixel(0, 1, 1) == image["g0"][1, 1].tolist()
    assert viewer.read_pixel(0, 58, 58) == image["g1"][58, 58].tolist()
    viewer.page.locator("[data-divider]").focus()
    viewer.page.keyboard.press("End")
    assert viewer.read_pixel(0, 58, 58) == image["g0"][58, 58].tolist()
    viewer.page.keyboard.press("Home")
    assert viewer.read_pixel(0, 1, 1) == image["g1"][1, 1].tolist()
    canvas = viewer.page.locator(".pane canvas")
    # The divider is at the left edge. `hover` waits until nothing moves the canvas or covers it.
    canvas.hover(position={"x": 3, "y": canvas.bounding_box()["height"] / 2})
    box = canvas.bounding_box()
    viewer.page.mouse.down()
    viewer.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=3)
    viewer.page.mouse.up()
    viewer.page.wait_for_function("document.querySelector('[data-divider]').value === '900'")  # a busy browser lags
    assert viewer.read_pixel(0, 1, 1) == image["g0"][1, 1].tolist()


def test_flicker_exchanges_a_and_b_in_place(viewer: Viewer) -> None:
    viewer.press("f")
    image, shown = IMAGES["dim"].results, []
    for _ in range(3):
        shown.append(viewer.read_pixel(0, 1, 1))
        viewer.press(" ")
    assert shown == [image[key][1, 1].tolist() for key in ("g0", "g1", "g0")]
    viewer.page.get_by_role("button", name="Flip").click()  # for fingers
    assert viewer.read_pixel(0, 1, 1) == image["g0"][1, 1].tolist()
    viewer.press("5")
    assert viewer.list_captions() == ["HR"]
    assert viewer.read_pixel(0, 1, 1) == IMAGES["dim"].hr[1, 1].tolist()


def test_error_maps_have_the_colors_of_their_scale(viewer: Viewer) -> None:
    viewer.page.get_by_label("|Error|").check()
    viewer.page.locator("[data-range]").select_option("8")
    captions = [caption.split("\n")[0] for caption in viewer.list_captions()]
    hr, g0, g1 = (captions.index(label) for label in ("HR", "espcn l1", "espcn mse"))
    assert viewer.read_pixel(hr, 1, 1) == [0, 0, 4]  # no error: the dark end
    assert viewer.read_pixel(g0, 1, 1) == [188, 56, 83]  # 4 of 8 levels: the next of 256 colors to the middle
    assert viewer.read_pixel(g1, 1, 1) == [252, 255, 164]  # 8 of 8: the bright end
    assert "0\n8 or more\nabsolute error against HR" in viewer.page.locator("[data-color-scale]").inner_text()
    viewer.press("e")
    assert viewer.read_pixel(g1, 1, 1) == [5, 60, 140]  # 8 levels too dark: the blue end
    assert viewer.read_pixel(g0, 1, 1) == [235, 140, 96]  # 4 of 8 levels too bright: half of the way to red
    viewer.page.locator("[data-reference]").select_option("g1")
    assert viewer.read_pixel(g0, 1, 1) == [150, 15, 30]  # 12 levels brighter than g1: the red end
    viewer.press("e")
    assert viewer.read_pixel(g0, 1, 1) == IMAGES["dim"].results["g0"][1, 1].tolist()


def test_images_are_listed_by_the_size_of_the_difference(viewer: Viewer) -> None:
    rows = viewer.page.locator(".bars .bar-row")
    assert rows.all_inner_texts() == ["bright\n+2.00 dB", "dim\n−0.50 dB", "gray\n−0.10 dB"]
    rows.first.click()
    viewer.page.wait_for_selector(".bars [aria-current] >> text=bright")
    assert viewer.page.locator("[data-scene]").evaluate("select => select.selectedOptions[0].text") == "bright"
    assert "28.00 dB · 0.9000" in viewer.list_captions()[1]
    viewer.press("x")
    assert rows.first.inner_text() == "bright\n−2.00 dB"
    viewer.press("n")
    viewer.page.wait_for_selector(".bars [aria-current] >> text=gray")


def test_chosen_results_are_shown(viewer: Viewer) -> None:
    viewer.page.locator("[data-chips]").get_by_label("espcn mse").uncheck()
    assert [caption.split("\n")[0] for caption in viewer.list_captions()] == ["bicubic", "espcn l1", "HR"]
    viewer.press("2", "3", "5")  # the last one stays
    assert viewer.list_captions() == ["HR"]


def test_magnifier_and_figure_show_the_same_crop_with_its_psnr(viewer: Viewer) -> None:
    viewer.page.locator("[data-box-size]").select_option("16")
    assert viewer.page.locator(".magnifier figure").all_inner_texts() == [
        "bicubic\n25.00 dB\ncrop " + format_psnr("bicubic", viewer) + " dB",
        "espcn l1\n30.00 dB\ncrop 36.09 dB",  # 4 levels: 20·log10(255 / 4)
        "espcn mse\n30.50 dB\ncrop 30.07 dB",  # 8 levels
        "HR",
    ]
    before = viewer.page.evaluate("document.querySelector('[data-viewer]').viewer.box.left")
    viewer.press("Shift+ArrowLeft")
    assert viewer.page.evaluate("document.querySelector('[data-viewer]').viewer.box.left") == before - 4
    viewer.press("c")
    image = viewer.page.locator("[data-figure] img")
    image.wait_for()
    size = image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
    assert size == [4 * 224 + 3 * 8, 224 + 8 + 3 * 22]  # 16 pixels × 14, four tiles
    corner = image.evaluate(
        """image => { const c = document.createElement("canvas"); c.width = 1; c.height = 1;
        c.getContext("2d").drawImage(image, -696, 0); return [...c.getContext("2d").getImageData(0, 0, 1, 1).data] }"""
    )
    box = viewer.page.evaluate("document.querySelector('[data-viewer]').viewer.box")
    assert corner[:3] == IMAGES["dim"].hr[box["top"], box["left"]].tolist()  # the first pixel of the last tile
    assert viewer.page.locator("[data-figure] a").get_attribute("download") == "dim_x2.png"


def format_psnr(key: str, viewer: Viewer) -> str:
    """Return the PSNR of the box in all channels, without the border of the image."""
    box = viewer.page.evaluate("document.querySelector('[data-viewer]').viewer.box")
    rows = slice(max(box["top"], SCALE), min(box["top"] + box["height"], SIDE - SCALE))
    columns = slice(max(box["left"], SCALE), min(box["left"] + box["width"], SIDE - SCALE))
    image = IMAGES["dim"]
    error = image.results[key][rows, columns].astype(float) - image.hr[rows, columns]
    return f"{10 * np.log10(255**2 / (error**2).mean()):.2f}"


def test_blind_test_counts_choices_that_were_made_by_the_pixels(viewer: Viewer) -> None:
    viewer.press("b")
    for count in range(1, 4):
        viewer.page.wait_for_selector(f"text=Blind test, {count} of 3")
        assert viewer.list_captions() == ["1", "2"]
        assert "espcn" not in viewer.page.locator(".stage").inner_html()
        first, second = (viewer.read_pixel(pane, 1, 1) for pane in (0, 1))
        viewer.press("1" if first[0] > second[0] else "2")  # g0 is the brighter one
    assert viewer.page.locator("[data-blind-result]").inner_text() == (
        "Blind test. espcn l1: 3 of 3; espcn mse: 0 of 3. p = 0.250 (two-sided binomial test): a coin is often as uneven: "
        "no preference is shown."
    )
    assert "espcn l1" in viewer.list_captions()[1]


def test_binomial_p(browser: Any) -> None:
    """The values are those of scipy.stats.binomtest."""
    script = (Path(__file__).parents[1] / "sr/comparison/assets/blind.js").read_text()
    page = browser.new_page()
    for count, total, p in ((5, 5, 0.0625), (9, 10, 0.021484375), (0, 0, 1.0), (5, 10, 1.0)):
        assert page.evaluate(f"(() => {{ {script}; return computeBinomialP({count}, {total}) }})()") == pytest.approx(p)
    page.close()


def test_touch_pinches_and_drags(browser: Any, file: Path) -> None:
    phone = Viewer(browser, file.as_uri(), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390  # nothing to scroll sideways
    phone.page.locator("[data-stage]").scroll_into_view_if_needed()
    box = phone.page.locator(".pane canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    (zoom, *_), *_ = phone.list_views()
    session = phone.context.new_cdp_session(phone.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (x - 10, y), (x + 10, y))
    for distance in (20, 30, 40):
        touch("touchMove", (x - distance, y), (x + distance, y))
    touch("touchEnd")
    wait_for(lambda: phone.list_views()[0][0] >= 3 * zoom, 60)
    before = phone.list_views()
    touch("touchStart", (x, y))
    touch("touchMove", (x + 10, y))
    touch("touchMove", (x + 20, y))
    touch("touchEnd")
    wait_for(lambda: phone.list_views()[0][1] > before[0][1], 60)
    assert phone.problems == []
    phone.context.close()


def test_the_viewer_works_in_the_sandbox_of_mlflow(browser: Any, file: Path, tmp_path: Path) -> None:
    """A frame of a blob: without an origin, where storage throws and nothing may be downloaded or copied."""
    outer = tmp_path / "mlflow.html"
    outer.write_text(
        "<!DOCTYPE html><iframe sandbox='allow-scripts' style='width: 1300px; height: 900px'></iframe><script>"
        "window.show = (text) => { document.querySelector('iframe').src = "
        "URL.createObjectURL(new Blob([text], {type: 'text/html'})); }</script>"
    )
    context = browser.new_context(viewport={"width": 1366, "height": 950})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(outer.as_uri())
    page.evaluate("text => window.show(text)", file.read_text())
    frame = page.frame_locator("iframe")
    frame.locator(".pane canvas[data-zoom]").first.wait_for()
    frame.locator("[data-stage]").focus()
    page.keyboard.press("c")
    frame.locator("[data-figure] img").wait_for()
    assert "copy or save this one" in frame.locator("[data-figure] p").inner_text()
    assert frame.locator("[data-figure] img").evaluate("image => image.naturalWidth") > 500
    assert not frame.locator("[data-figure] a").is_visible()
    page.keyboard.press("f")
    page.keyboard.press(" ")
    assert "espcn mse" in frame.locator(".pane figcaption").inner_text()
    assert problems == []
    context.close()


def test_curves_go_over_steps_seconds_and_images(browser: Any, tmp_path: Path) -> None:
    curve = BandCurve([10, 20], [5.0, 11.0], [160, 320], [30.0, 31.0], [29.0, 30.0], [31.0, 32.0])
    other = BandCurve([10], [5.0], [160], [0.9], [0.9], [0.9])
    page = Page("Comparison")
    groups = [CurveGroup("espcn", {"psnr, Set5": curve, "ssim, Set5": other}, {"psnr, Set5": 28.0})]
    page.add_section("Curves").add_chart(draw_curves(groups))
    path = tmp_path / "curves.html"
    path.write_text(page.render(), encoding="utf-8")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    view, problems = context.new_page(), []
    view.set_default_timeout(TIMEOUT)
    view.on("console", lambda message: problems.append(message.text))
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.goto(path.as_uri())
    title, x = ".xtitle", "document.querySelector('.plot').data.filter(t => t.visible).map(t => t.x)"
    view.wait_for_selector(title)
    for axis, band, line, baseline in (("steps", [10, 20, 20, 10], [10, 20], [0, 20]),
                                       ("seconds", [5, 11, 11, 5], [5, 11], [0, 11]),
                                       ("images seen", [160, 320, 320, 160], [160, 320], [0, 320])):  # fmt: skip
        view.locator(".updatemenu-button").get_by_text(axis, exact=True).click()
        view.wait_for_selector(f"{title} >> text={axis}")
        assert view.evaluate(x) == [band, line, baseline]
    assert view.evaluate("document.documentElement.scrollWidth") == 390
    assert problems == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366])
def test_every_control_has_a_name_and_nothing_is_wider_than_the_page(
    browser: Any, file: Path, scheme: str, width: int
) -> None:
    viewer = Viewer(browser, file.as_uri(), viewport={"width": width, "height": 800}, color_scheme=scheme)
    controls = viewer.page.locator("button, select, input, [tabindex='0'], canvas, summary").all()
    nameless = viewer.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, canvas, [tabindex='0']")].filter((control) => !(
            control.getAttribute("aria-label") || control.textContent.trim() || control.labels?.[0]?.textContent.trim()
        )).map((control) => control.outerHTML)"""
    )
    assert len(controls) > 20 and nameless == []
    assert viewer.page.evaluate("document.documentElement.scrollWidth") == width
    assert viewer.problems == []
    viewer.context.close()
