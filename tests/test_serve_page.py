"""The page of sr.serve in a browser: every way in and out, by mouse, touch and keyboard, and true pixels."""

import base64
import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Tab, launch_browser, needs_browser
from conftest import wait_for
from PIL import Image

from sr.serving.page import build_security_policy, render_page
from sr.serving.parameters import MAX_TILE, MIN_TILE

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, SCALE = 60, 48, 2
COUNT_URLS = """(() => {
  window.urls = new Set();
  const { createObjectURL, revokeObjectURL } = URL;
  URL.createObjectURL = (blob) => { const url = createObjectURL(blob); window.urls.add(url); return url; };
  URL.revokeObjectURL = (url) => { window.urls.delete(url); revokeObjectURL(url); };
})()"""
READ_PIXEL = """(canvas, [x, y]) => {
  const { left, top, zoom } = canvas.dataset;
  const at = (start, position) => Number(start) + Math.floor((position + 0.5) * Number(zoom));
  return [...canvas.getContext("2d").getImageData(at(left, x), at(top, y), 1, 1).data].slice(0, 3);
}"""

DESCRIBE_FOCUS = """(() => {
  const focused = document.activeElement;
  return focused === document.body ? "" : `${focused.id} ${focused.getAttribute("aria-label")} ${focused.textContent}`;
})()"""


def test_the_page_loads_nothing_and_runs_its_own_scripts_alone() -> None:
    html, policy = render_page(), build_security_policy()
    assert not re.search(r"""(src|href|@import|url\()\s*=?\s*["']?(https?:)?//""", html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts}
    assert set(re.search("script-src ([^;]*)", policy)[1].split()) == hashes and len(hashes) == 2
    assert "unsafe-inline" not in policy.split("style-src")[0] and "frame-ancestors 'none'" in policy
    assert not re.search(r"<\w+[^>]* (on\w+|style)=", html)  # neither would work


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    words = [sys.executable, "-m", "sr.serve", "port=0", "checkpoint=small_x2", "max_bytes=1MB", "max_pixels=50000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        address = f"{process.stdout.readline().strip()}/"
        yield wait_for(lambda: is_ready(address) and address)
        process.terminate()


def is_ready(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}readyz", timeout=60).status == 200
    except urllib.error.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launch_browser() as browser:
        yield browser


class ServicePage(Tab):
    """The page of the service in a browser."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        super().__init__(browser, address, COUNT_URLS, **{"viewport": {"width": 1200, "height": 800}, **options})
        self.page.locator(".lead", has_text="×2").wait_for()
        self.canvas = self.page.locator("[data-stage] canvas")
        self.divider = self.page.get_by_role("slider")
        self.notice = self.page.locator("[data-notice]")

    def add(self, *files: tuple[str, bytes]) -> None:
        """Choose files, and wait until none of them is pending any more."""
        self.page.locator("[data-files]").set_input_files(
            [{"name": name, "mimeType": guess_type(name), "buffer": content} for name, content in files]
        )
        self.wait()

    def wait(self) -> None:
        rows = self.page.locator("[data-queue] li")
        rows.first.wait_for()
        pending = ("waiting", "sending", "upscaling", "paused")
        wait_for(lambda: not [row for row in rows.all() if row.get_attribute("data-state") in pending], 60)

    def download(self) -> tuple[str, bytes]:
        """Return the name and the content of the file that the browser saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name="Download").click()
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def zoom(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def read_pixel(self, x: int, y: int) -> list[int]:
        """Return R, G and B of the stage where it shows the result's pixel (x, y)."""
        return self.canvas.evaluate(READ_PIXEL, [x, y])

    def read_view(self) -> tuple[float, ...]:
        """Return the zoom, and where the corner of the image is, in device pixels."""
        return tuple(self.canvas.evaluate("c => ['zoom', 'left', 'top'].map((key) => Number(c.dataset[key]))"))

    def close(self, *expected: str) -> None:
        """Check that the page reported nothing but what is expected, and asked nobody but its server."""
        expected = (*expected, "willReadFrequently")  # a hint about what these tests do, to read the stage's pixels
        assert [text for text in self.problems if not any(part in text for part in expected)] == []
        assert [url for url in self.requests if not url.startswith((self.address, "data:", "blob:"))] == []
        self.context.close()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[ServicePage]:
    tab = ServicePage(browser, address)
    yield tab
    tab.close()


def guess_type(name: str) -> str:
    return {"png": "image/png", "jpg": "image/jpeg", "tif": "image/tiff", "txt": "text/plain"}[
        name.rsplit(".", maxsplit=1)[-1]
    ]


def make_pixels(seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return an image with structure, `[HEIGHT, WIDTH, channels]`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 6, WIDTH // 6, channels), dtype=np.uint8)
    return coarse.repeat(6, axis=0).repeat(6, axis=1)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def ask_server(address: str, content: bytes, query: str = "", kind: str = "image/png") -> bytes:
    """Return what the server answers to another client than the page."""
    request = urllib.request.Request(f"{address}upscale{query}", content, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def read_info(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}info", timeout=60) as answer:
        return json.load(answer)


PHOTO = encode(make_pixels())


@needs_browser
@pytest.mark.slow(4)
def test_what_is_downloaded_is_what_the_server_answered(tab: ServicePage, address: str) -> None:
    info = read_info(address)
    lead = tab.page.locator(".lead").inner_text()
    assert info["name"] in lead and info["license"] in lead
    tab.add(("my photo.v2.png", PHOTO))
    assert tab.download() == ("my photo.v2_x2.png", ask_server(address, PHOTO))
    assert "60 × 48 → 120 × 96" in tab.page.locator("[data-summary]").inner_text()
    tab.page.get_by_label("Format").select_option("jpeg")
    tab.page.get_by_label("Quality").fill("70")
    tab.page.get_by_role("button", name="Upscale again").click()
    tab.page.get_by_role("link", name="Download JPEG").wait_for()
    assert tab.download() == ("my photo.v2_x2.jpg", ask_server(address, PHOTO, "?format=jpeg&quality=70"))
    tile = tab.page.get_by_label("Tile")
    assert [tile.get_attribute(limit) for limit in ("min", "max")] == [str(MIN_TILE), str(MAX_TILE)]
    for text, query in (("5", "&outscale=1.5"), ("32", "&outscale=1.5&tile=32")):  # 5 is too small, and is not sent
        tab.page.get_by_label("Scale").fill("1.5")
        tile.fill(text)
        tab.page.get_by_role("button", name="Upscale again").click()
        tab.page.get_by_role("button", name="Upscale again").wait_for(state="hidden")
        tab.wait()
        assert "60 × 48 → 90 × 72" in tab.page.locator("[data-summary]").inner_text()
        assert [url for url in tab.requests if "/upscale?" in url][-1].endswith(f"quality=70{query}")
        assert tab.download() == ("my photo.v2_x1.5.jpg", ask_server(address, PHOTO, f"?format=jpeg&quality=70{query}"))


@needs_browser
@pytest.mark.slow(3)
def test_an_image_is_pasted_or_dropped(browser: Any, address: str) -> None:
    tab = ServicePage(browser, address, permissions=["clipboard-read", "clipboard-write"])
    tab.page.evaluate("navigator.clipboard.writeText('no image')")
    tab.page.keyboard.press("Control+V")
    tab.page.locator("[data-toast]", has_text="The clipboard holds no image.").wait_for()
    tab.page.evaluate(
        """async (text) => {
          const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
          await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
        }""",
        base64.b64encode(PHOTO).decode(),
    )
    tab.page.keyboard.press("Control+V")
    tab.wait()
    name, content = tab.download()  # the clipboard has encoded the pixels anew
    assert (name, Image.open(io.BytesIO(content)).size) == ("image_x2.png", (SCALE * WIDTH, SCALE * HEIGHT))
    transfer = tab.page.evaluate_handle(
        """(text) => {
          const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0)), transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
          return transfer;
        }""",
        base64.b64encode(PHOTO).decode(),
    )
    tab.page.dispatch_event("h1", "dragenter", {"dataTransfer": transfer})
    assert tab.page.get_by_text("Drop images here").is_visible()
    tab.page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    assert not tab.page.get_by_text("Drop images here").is_visible()
    tab.wait()
    assert tab.download() == ("dropped_x2.png", ask_server(address, PHOTO))
    tab.close()


@needs_browser
@pytest.mark.long
def test_left_of_the_divider_is_before_and_right_of_it_after(tab: ServicePage, address: str) -> None:
    pixels = make_pixels()
    tab.add(("photo.png", PHOTO))
    after = np.asarray(Image.open(io.BytesIO(ask_server(address, PHOTO))).convert("RGB"))
    tab.zoom("4×")
    tab.page.get_by_label("Before as").select_option("nearest")
    assert tab.read_pixel(30, 51) == pixels[25, 15].tolist()
    assert tab.read_pixel(100, 50) == after[50, 100].tolist()
    tab.page.get_by_label("Before as").select_option("bicubic")
    bicubic = np.asarray(Image.fromarray(pixels).resize((SCALE * WIDTH, SCALE * HEIGHT), Image.Resampling.BICUBIC))
    places = [(30, 51), (23, 12), (8, 90), (47, 46)]
    wait_for(lambda: all(np.abs(tab.read_pixel(x, y) - bicubic[y, x].astype(int)).max() <= 1 for x, y in places))

    box = tab.page.locator("[data-stage]").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] / 2 + 3, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 0.2 * box["width"] + 3, middle, steps=3)
    tab.page.mouse.up()
    assert tab.divider.get_attribute("aria-valuenow") == "20"
    assert tab.read_pixel(50, 46) == after[46, 50].tolist()
    tab.divider.focus()
    for key, value in (("ArrowRight", 21), ("PageUp", 31), ("ArrowLeft", 30), ("End", 100), ("Home", 0)):
        tab.page.keyboard.press(key)
        assert tab.divider.get_attribute("aria-valuenow") == str(value)
    assert tab.divider.get_attribute("aria-valuetext") == "0 % before, 100 % after"
    tab.canvas.focus()
    tab.page.keyboard.press("b")
    assert tab.divider.get_attribute("aria-valuenow") == "100"


@needs_browser
@pytest.mark.slow(3)
def test_zoom_goes_around_the_pointer_and_a_drag_moves_the_image(tab: ServicePage) -> None:
    tab.add(("photo.png", PHOTO))
    tab.zoom("8×")
    assert tab.read_view()[0] == 8 and tab.page.locator("[data-zoom-text]").inner_text() == "8 : 1"
    box = tab.canvas.bounding_box()
    x, y = box["x"] + 50, box["y"] + 60
    tab.page.mouse.move(x, y)

    def find_point() -> tuple[float, float]:
        zoom, left, top = tab.read_view()
        return (50 - left) / zoom, (60 - top) / zoom

    before = find_point()
    tab.page.mouse.wheel(0, -100)
    wait_for(lambda: tab.read_view()[0] == 12)
    assert np.abs(np.subtract(find_point(), before)).max() < 0.1  # of a pixel
    _, left, top = tab.read_view()
    tab.page.mouse.down()
    tab.page.mouse.move(x - 40, y - 30, steps=4)
    tab.page.mouse.up()
    assert np.abs(np.subtract(tab.read_view(), (12, left - 40, top - 30))).max() <= 1
    for key, zoom in (("-", 8), ("+", 12), ("1", 1), ("2", 2)):
        tab.page.keyboard.press(key)  # a click on the image has given it the focus
        assert tab.read_view()[0] == zoom
    tab.page.keyboard.press("0")
    assert tab.page.get_by_role("button", name="Fit").get_attribute("aria-pressed") == "true"


@needs_browser
@pytest.mark.long
def test_errors_are_those_of_the_server_in_its_words(browser: Any, address: str, tmp_path: Path) -> None:
    tab = ServicePage(browser, address)
    tab.add(("notes.txt", b"no image"))
    request = urllib.request.Request(f"{address}upscale", b"no image", {"Content-Type": "application/octet-stream"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=60)
    sentence = json.load(refusal.value)["error"]
    assert tab.notice.inner_text().lower() == sentence.lower()  # the first letter of the notice is a capital
    assert not tab.page.get_by_role("link", name="Download").is_visible()
    limits = read_info(address)["limits"]
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(limits["bytes"] + 1)
    tab.page.locator("[data-files]").set_input_files(tmp_path / "large.png")
    tab.wait()
    assert "takes at most" in tab.notice.inner_text()
    assert len([url for url in tab.requests if "upscale" in url]) == 1  # the large file is not sent in vain
    tab.add(("wide.png", encode(np.zeros((250, 250, 3), np.uint8))))
    assert f"{limits['pixels']} pixels" in tab.notice.inner_text()

    # A server that is busy for a moment, one that does not answer, and a proxy's error page.
    answers = [
        {"status": 429, "headers": {"Retry-After": "1"}, "body": json.dumps({"error": "Too many images wait here."})},
        {"status": 200, "content_type": "image/png", "body": ask_server(address, PHOTO)},
        None,
        {"status": 502, "content_type": "text/html", "body": "<h1>Bad gateway</h1>"},
        {"status": 200, "content_type": "image/png", "body": ask_server(address, PHOTO)},
    ]

    def answer(route: Any) -> None:
        values = answers.pop(0)
        if values is None:
            route.abort()
        else:
            route.fulfill(**values)

    tab.page.route("**/upscale*", answer)
    tab.add(("busy.png", PHOTO))
    assert tab.download()[0] == "busy_x2.png"
    tab.add(("offline.png", PHOTO))
    assert "The server does not answer" in tab.notice.inner_text()
    for expected in ("The server answered with status 502.", ""):
        tab.page.get_by_role("button", name="Try again").click()
        tab.wait()
        wait_for(lambda text=expected: text in tab.notice.inner_text())
    assert tab.download()[0] == "offline_x2.png"
    tab.close("Failed to load resource")  # the browser's own line for a status of 400 or more


class WaitingServer(ThreadingHTTPServer):
    """A server whose answer to an image is the image itself, when the test sets `is_allowed`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WaitingHandler)
        self.received, self.is_allowed = 0, threading.Event()


class WaitingHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        info = {"name": "echo", "scale": 2, "net": "echo", "license": "none", "formats": ["png"], "limits": {}}
        self.answer(json.dumps(info) if self.path == "/info" else render_page(), "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received += 1
        self.server.is_allowed.wait(60)
        with contextlib.suppress(ConnectionError):  # canceled
            self.answer(body, "image/png")

    def answer(self, body: str | bytes, kind: str) -> None:
        body = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def waiting() -> Iterator[WaitingServer]:
    server = WaitingServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.is_allowed.set()
    server.shutdown()
    server.server_close()


@needs_browser
@pytest.mark.slow(3)
def test_waiting_is_shown_and_canceled(browser: Any, waiting: WaitingServer) -> None:
    tab = ServicePage(browser, f"http://127.0.0.1:{waiting.server_port}/")
    files = [{"name": f"{k}.png", "mimeType": "image/png", "buffer": PHOTO} for k in range(3)]
    tab.page.locator("[data-files]").set_input_files(files)
    tab.notice.get_by_text("Upscaling, 1").wait_for()
    assert tab.page.get_by_role("progressbar").is_visible()
    rows = tab.page.locator("[data-queue] li")
    assert [row.get_attribute("data-state") for row in rows.all()] == ["upscaling", "waiting", "waiting"]
    tab.page.get_by_role("button", name="Cancel 1.png").click()  # one that waits
    tab.page.keyboard.press("Escape")  # the one that is shown
    wait_for(lambda: waiting.received == 2)
    assert [row.get_attribute("data-state") for row in rows.all()][:2] == ["canceled", "canceled"]
    waiting.is_allowed.set()
    tab.wait()
    rows.nth(2).locator(".open").click()
    tab.page.get_by_role("link", name="Download").wait_for()
    assert tab.page.evaluate("window.urls.size") == 4  # three images and a result
    for k in (1, 0, 2):
        tab.page.get_by_role("button", name=f"Remove {k}.png").click()
    assert tab.page.evaluate("window.urls.size") == 0
    assert tab.page.evaluate("document.activeElement.id") == "files"  # the focus is not lost
    tab.close()


@needs_browser
@pytest.mark.slow(3)
def test_from_load_to_download_by_keyboard_alone(tab: ServicePage, tmp_path: Path, address: str) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)

    def press_tab_until(description: str) -> None:
        for _ in range(30):
            tab.page.keyboard.press("Tab")
            if description in tab.page.evaluate(DESCRIBE_FOCUS):
                visible = (
                    "[document.activeElement, document.activeElement.nextElementSibling].some(e => e && "
                    "getComputedStyle(e).outlineStyle !== 'none')"
                )
                assert tab.page.evaluate(visible) or description == "Divider"
                return
        raise AssertionError(description)

    tab.page.on("filechooser", lambda chooser: chooser.set_files(path))
    press_tab_until("files")
    tab.page.keyboard.press("Enter")
    tab.wait()
    press_tab_until("4×")
    tab.page.keyboard.press("Space")
    assert tab.read_view()[0] == 4
    press_tab_until("Divider")
    tab.page.keyboard.press("ArrowRight")
    assert tab.divider.get_attribute("aria-valuenow") == "51"
    press_tab_until("Download")
    with tab.page.expect_download() as download:
        tab.page.keyboard.press("Enter")
    assert Path(download.value.path()).read_bytes() == ask_server(address, PHOTO)


@needs_browser
@pytest.mark.slow(4)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(browser: Any, address: str, scheme: str) -> None:
    phone = ServicePage(
        browser, address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2,
        color_scheme=scheme, reduced_motion="reduce",
    )  # fmt: skip
    width = "document.documentElement.scrollWidth"
    assert phone.page.evaluate(width) == 360
    phone.add(("a_very_long_name_" * 6 + ".png", PHOTO), ("notes.txt", b"no image"))
    phone.page.get_by_label("Format").select_option("jpeg")
    assert phone.page.evaluate(width) == 360
    phone.page.locator("[data-queue] li").nth(1).locator(".open").click()
    phone.notice.wait_for()
    assert phone.page.evaluate(width) == 360
    phone.page.locator("[data-queue] li").nth(0).locator(".open").click()
    nameless = """() => [...document.querySelectorAll("button, select, input, a, canvas, [tabindex='0']")].filter(
      (e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.[0]?.textContent.trim())
    ).map((e) => e.outerHTML)"""
    assert phone.page.evaluate(nameless) == []
    phone.divider.wait_for()
    phone.divider.scroll_into_view_if_needed()
    box = phone.divider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = phone.context.new_cdp_session(phone.page)
    for kind, points in (("touchStart", [0]), ("touchMove", [40]), ("touchMove", [85]), ("touchEnd", [])):
        places = [{"x": x + dx, "y": y} for dx in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    share = 50 + 85 / phone.canvas.bounding_box()["width"] * 100
    wait_for(lambda: abs(int(phone.divider.get_attribute("aria-valuenow")) - share) <= 1)
    phone.close("Failed to load resource")


@needs_browser
@pytest.mark.slow(4)
def test_alpha_orientation_and_formats_that_no_browser_shows(tab: ServicePage, address: str) -> None:
    clear = make_pixels(1, 4)
    clear[..., 3] = 0
    tab.add(("clear.png", encode(clear)))
    tab.zoom("4×")
    shown = {tuple(tab.read_pixel(x, 48)) for x in range(0, 120)}
    assert shown == {(255, 255, 255), (204, 204, 204)}  # the checkerboard alone
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    tab.add(("turned.jpg", encode(make_pixels(), "JPEG", exif=exif)))
    assert "48 × 60 → 96 × 120" in tab.page.locator("[data-summary]").inner_text()
    tiff = encode(make_pixels(), "TIFF")
    tab.add(("scan.tif", tiff))
    tab.notice.get_by_text("This browser cannot show this TIFF").wait_for()
    assert tab.download() == ("scan_x2.tif", ask_server(address, tiff, kind="image/tiff"))
    tab.page.get_by_label("Format").select_option("png")
    tab.page.get_by_role("button", name="Upscale again").click()
    tab.page.locator("[data-summary]", has_text="120 × 96").wait_for()
    assert not tab.notice.is_visible() and not tab.divider.is_visible()
