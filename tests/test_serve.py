"""`sr.serve`: what its clients get, byte for byte as `sr.predict` writes it, and what bad requests get, and when."""

import contextlib
import http.client
import io
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import wait_for
from documents import ROOT, list_blocks
from omegaconf import OmegaConf
from PIL import Image

from sr.config.cli import find_conf_dir
from sr.runtime.error import MemoryLimitError, OutOfMemoryError
from sr.serving.error import translate_error
from sr.serving.parameters import Parameters
from sr.serving.server import prepare_server

CLIENTS, REQUESTS = 16, 100
PATIENCE = 60  # seconds after which a client no longer waits for an answer, and its test fails


class Reply(NamedTuple):
    """What a client gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        content = json.loads(self.body)
        assert list(content) == ["error"]
        return content["error"]


class Client:
    """Sends requests to a service."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, address: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, address, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers), answer.read())

    def upscale(self, image: bytes, query: str = "", **headers: str) -> Reply:
        return self.ask("POST", f"/upscale{query}", image, {"Content-Type": "image/png", **headers})

    def send(self, data: bytes) -> bytes:
        """Send bytes that need not be HTTP, and return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def wait_until_ready(self) -> None:
        while self.ask("GET", "/readyz").status != 200:
            time.sleep(0.02)


@contextlib.contextmanager
def run_service(**options: Any) -> Iterator[Client]:
    """Run a service in a thread of this process."""
    config = OmegaConf.to_container(OmegaConf.load(find_conf_dir() / "serve.yaml"))
    with prepare_server({**config, "port": 0, "log": False, "device": "cpu", **options}) as (server, listener):
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            client = Client(listener.getsockname()[1])
            client.wait_until_ready()
            yield client
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client of a service with small limits."""
    limits = {"max_bytes": 300_000, "max_pixels": 300_000, "upload_timeout": 0.5, "timeout": 60, "queue": 24}
    with run_service(**limits) as client:
        yield client


def make_image(form: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (20, 14), **options: Any) -> bytes:
    """Return an image file of noise."""
    shape = (size[1], size[0], len(mode)) if len(mode) > 1 else (size[1], size[0])
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def make_scan() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 65536, (14, 20), dtype=np.uint16)).save(file, "PNG")
    return file.getvalue()


def make_animation() -> bytes:
    frames = [Image.new("P", (20, 14), k) for k in (1, 2, 3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=70, loop=0)
    return file.getvalue()


def make_turned_photo() -> bytes:
    """Return a JPEG with a date, a place and an orientation in its EXIF, and a resolution."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0132] = 6, "2026:11:29 10:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return make_image("JPEG", exif=exif, dpi=(300, 300), quality=90)


IMAGES: dict[str, Callable[[], bytes]] = {
    "rgb.png": make_image,
    "rgba.png": lambda: make_image(mode="RGBA"),
    "scan.png": make_scan,
    "gray.jpg": lambda: make_image("JPEG", "L"),
    "turned.jpg": make_turned_photo,
    "photo.webp": lambda: make_image("WEBP"),
    "exact.webp": lambda: make_image("WEBP", lossless=True),
    "drawing.bmp": lambda: make_image("BMP"),
    "pages.tif": lambda: make_image("TIFF", save_all=True, append_images=[Image.new("RGB", (20, 14), "red")]),
    "moving.gif": make_animation,
    "wide.png": lambda: make_image(size=(600, 40)),
}


def predict(sr: Any, folder: Path, name: str, image: bytes, result: str, *words: str) -> bytes:
    """Return what `sr.predict` writes."""
    (folder / name).write_bytes(image)
    answer = sr("predict", f"input={folder / name}", f"output={folder / result}", "device=cpu", *words)
    assert answer.code == 0, answer.err
    return (folder / result).read_bytes()


def test_result_and_errors(client: Client, sr: Any, tmp_path: Path) -> None:
    """The fast one: an image, and one error of each layer."""
    reply = client.upscale(make_turned_photo(), **{"Content-Type": "image/jpeg"})
    assert reply.body == predict(sr, tmp_path, "a.jpg", make_turned_photo(), "b.jpg")
    assert reply.headers["content-type"] == "image/jpeg"
    assert re.fullmatch(r"queue;dur=[\d.]+, upscale;dur=[\d.]+", reply.headers["server-timing"])
    assert client.upscale(b"junk").status == 415
    assert client.ask("GET", "/upscale").status == 405
    assert client.send(b"junk\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_description_has_every_address_parameter_and_status(client: Client) -> None:
    paths = json.loads(client.ask("GET", "/openapi.json").body)["paths"]
    routes = re.findall(r'Route\("(/[^"]*)"', (ROOT / "sr/serving/app.py").read_text(encoding="utf-8"))
    assert sorted(paths) == sorted(routes)
    operation = paths["/upscale"]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == list(Parameters._fields)
    found = {status for path in (ROOT / "sr/serving").glob("*.py")
             for status in re.findall(r"ServiceError\(\s*(\d+)|status = (\d+) if", path.read_text(encoding="utf-8"))}  # fmt: skip
    assert {status for pair in found for status in pair if status} <= set(operation["responses"])


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_every_kind_is_what_predict_writes(name: str, client: Client, sr: Any, tmp_path: Path) -> None:
    image = IMAGES[name]()
    reply = client.upscale(image, **{"Content-Type": "application/octet-stream"})
    assert reply.status == 200, reply.body
    assert reply.body == predict(sr, tmp_path, name, image, f"result{Path(name).suffix}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "suffix", "words"),
    [
        ("?format=webp&quality=60", "webp", ["quality=60"]),
        ("?outscale=1.5", "png", ["outscale=1.5"]),
        ("?tile=32", "png", ["tile=32"]),
        ("?format=tiff", "tif", []),
    ],
)
def test_parameters_are_options_of_predict(
    query: str, suffix: str, words: list[str], client: Client, sr: Any, tmp_path: Path
) -> None:
    image = make_image(size=(70, 50))
    assert client.upscale(image, query).body == predict(sr, tmp_path, "a.png", image, f"b.{suffix}", *words)


@pytest.mark.slow
def test_what_a_result_has_not_is_named(client: Client) -> None:
    reply = client.upscale(make_image(mode="RGBA"), "?format=jpeg")
    assert reply.headers["x-not-in-result"] == "alpha"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/png"), ("image/webp", "image/webp"), ("image/jpeg;q=0.5, image/webp", "image/webp"),
        ("text/html, image/*;q=0.8", "image/png"), ("image/jpeg, */*;q=0.1", "image/jpeg"),
        ("image/apng, image/svg+xml, image/*, */*;q=0.8", "image/png"),
    ],
)  # fmt: skip
def test_format_is_negotiated(accept: str, media_type: str, client: Client) -> None:
    reply = client.upscale(make_image(), Accept=accept)
    with Image.open(io.BytesIO(reply.body)) as result:
        assert reply.headers["content-type"] == media_type == Image.MIME[result.format]


def make_bomb(width: int, height: int, rows: int) -> bytes:
    """Return a gray PNG of a size, with a stream of black rows that may be fewer."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(rows * (1 + width)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def make_many_frames() -> bytes:
    """Return a GIF of 18,000 frames of one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0") * 18_000 + b";"


def stream(count: int) -> Iterator[bytes]:
    """Yield chunks of a body without a stated length."""
    return (bytes(1 << 16) for _ in range(count))


PNG = make_image()
OTHER_FILES = {
    "text": b"hello", "dicom": bytes(128) + b"DICM" + bytes(500), "video": b"\0\0\0\x18ftypisom" + bytes(500), "pdf": b"%PDF-1.7",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "eps": b"%!PS-Adobe-3.0 EPSF-3.0", "zeros": bytes(1000),
    "pickle": b"\x80\x04N.", "netpbm": b"P6 1 1 255 abc", "nifti": bytes(344) + b"n+1\0",
    "avif": b"\0\0\0\x18ftypavif" + bytes(99), "gzip": b"\x1f\x8b",
}  # fmt: skip
QUERIES = (
    "?quality=0", "?quality=x", "?quality=1_0", "?quality=", "?tile=1", "?tile=99999999999999999999", "?tile=1e2",
    "?outscale=nan", "?outscale=inf",
    "?outscale=2.5", "?outscale=-1", "?format=exe", "?format=avif", "?format=PNG/../x", "?format=png&format=png",
    "?checkpoint=/etc/passwd", "?scale=4", "?output=/tmp/x", "?%00=1", "?format=%ff",
)  # fmt: skip
PATHS = (
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/info/",
    "/upscale/x",
    "/.git/config",
    "/docs",
    "/\\..\\x",
)


def list_hostile_requests() -> dict[str, tuple[set[int], Callable[[Client], Reply]]]:
    """Return bad requests, with the statuses that are right."""

    def post(body: Any, query: str = "", **headers: str) -> Callable[[Client], Reply]:
        return lambda client: client.upscale(body() if callable(body) else body, query, **headers)

    def get(address: str, method: str = "GET") -> Callable[[Client], Reply]:
        return lambda client: client.ask(method, address)

    requests = {
        **{f"kind {name}": ({415}, post(data)) for name, data in OTHER_FILES.items()},
        **{f"query {query}": ({422}, post(PNG, query)) for query in QUERIES},
        **{f"path {path}": ({404}, get(path)) for path in PATHS},
        **{f"method {method}": ({405}, get("/upscale", method)) for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS")},
        **{f"method {method} of the page": ({405}, get("/", method)) for method in ("POST", "PUT", "TRACE")},
        "empty": ({400}, post(b"")),
        "bomb": ({413}, post(make_bomb(8000, 8000, 8000))),
        "announced": ({422}, post(make_bomb(60_000, 60_000, 1))),
        "one long row": ({422}, post(make_bomb(2_000_000_000, 1, 0))),
        "too few rows": ({422}, post(make_bomb(500, 600, 10))),
        "many frames": ({413}, post(make_many_frames())),
        "100 MB": ({413}, post(bytes(100_000_000))),
        "100 MB in chunks": ({413}, post(lambda: stream(1600))),
        "json": ({415}, post(b"{}", **{"Content-Type": "application/json"})),
        "a form": ({415}, post(b"a=b", **{"Content-Type": "multipart/form-data; boundary=x"})),
        "compressed": ({415}, post(PNG, **{"Content-Encoding": "gzip"})),
        "unacceptable": ({406}, post(PNG, Accept="text/html")),
        "a host name that points here": ({421}, post(PNG, Host="evil.example")),
        "another site": ({403}, post(PNG, **{"Sec-Fetch-Site": "cross-site"})),
    }  # fmt: skip
    for name, make in IMAGES.items():  # cut off, and with bytes that are changed
        image = make()
        for share in (0.1, 0.5, 0.9):
            requests[f"{name} cut off at {share}"] = ({415, 422, 200}, post(image[: int(share * len(image))]))
        for seed in range(10):
            changed, draw = bytearray(image), random.Random(seed)
            for _ in range(12):
                changed[draw.randrange(8, len(image))] = draw.randrange(256)
            requests[f"{name} damaged {seed}"] = ({200, 413, 415, 422}, post(bytes(changed)))
    return requests


HOSTILE = list_hostile_requests()
POST = b"POST /upscale HTTP/1.1\r\nHost: localhost\r\n"
NO_HTTP = {
    "junk": b"\0\1\2\3\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + bytes(99) + b"\r\n\r\n",
    "long": b"GET /" + b"a" * 99_999,
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "negative": POST + b"Content-Length: -1\r\n\r\n",
    "smuggled": POST + b"Transfer-Encoding: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30_000,
}  # fmt: skip


@pytest.mark.slow
def test_hostile_requests_get_their_status(client: Client) -> None:
    assert len(HOSTILE) + len(NO_HTTP) >= 200
    wrong = {}
    for name, (statuses, send) in HOSTILE.items():
        reply = send(client)
        if reply.status not in statuses:
            wrong[name] = (reply.status, reply.body[:200])
        if reply.status != 200:
            assert reply.error
            assert not re.search(r"Traceback|/tmp|\.py\b|sr-serve|0x[0-9a-f]{6}", reply.error), (name, reply.error)
    for name, data in NO_HTTP.items():
        with contextlib.suppress(ConnectionError):
            status = client.send(data)[9:12]
            if status not in (b"400", b"431"):
                wrong[name] = status
    assert not wrong
    assert client.ask("GET", "/healthz").status == client.ask("GET", "/readyz").status == 200


@pytest.mark.slow
def test_image_that_needs_too_much_memory_is_named_with_the_limit() -> None:
    with run_service(memory="1MB") as client:  # less than the process has already
        reply = client.upscale(PNG)
        assert reply.status == 413
        assert reply.error == "this image does not fit in memory: 9.2 kB for it as a whole, and 0 bytes are free for it"
    error = translate_error(MemoryLimitError("/tmp/x: this image does not fit in memory: 9 GB; try"), [Path("/tmp/x")])
    assert (error.status, error.sentence) == (413, "this image does not fit in memory: 9 GB")
    short = translate_error(OutOfMemoryError("/tmp/x: this image does not fit in memory; try"), [Path("/tmp/x")])
    assert (short.status, short.retry_after) == (503, 1)


@pytest.mark.slow
def test_slow_upload_is_ended(client: Client) -> None:
    answer = client.send(
        b"POST /upscale HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 100\r\n\r\nabc"
    )
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_load_is_answered_with_the_same_bytes(client: Client) -> None:
    """16 clients at once: some are refused, and come again."""
    images = [make_image(size=size) for size in ((20, 14), (30, 20), (24, 24))] + [make_image("JPEG")]
    expected = [client.upscale(image).body for image in images]

    def ask(k: int) -> int:
        reply = client.upscale(images[k % 4])
        assert reply.status != 200 or reply.body == expected[k % 4]
        assert reply.status != 429 or 1 <= int(reply.headers["retry-after"]) <= 60
        return reply.status

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = Counter(pool.map(ask, range(REQUESTS)))
    assert statuses == {200: REQUESTS}
    counts = client.ask("GET", "/metrics").body.decode()
    assert "\nsr_queue 0\n" in counts
    assert int(re.search(r'sr_requests_total\{status="200"\} (\d+)', counts)[1]) >= REQUESTS


@pytest.mark.slow
def test_full_queue_refuses_and_time_limit_ends() -> None:
    image = make_image(size=(500, 400))
    with run_service(queue=1, timeout=1.5) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.upscale, image, "?tile=32")
        while "\nsr_queue 1\n" not in client.ask("GET", "/metrics").body.decode():
            time.sleep(0.01)
        assert client.upscale(PNG).status == 429
        assert slow.result().status == 504
        wait_for(
            lambda: client.upscale(PNG).status == 200
        )  # the thread of the network leaves the image at the next tile


@pytest.mark.slow
def test_client_that_leaves_is_not_worked_for() -> None:
    image = make_image(size=(1000, 900))
    head = b"POST /upscale?tile=32 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image)
    with run_service() as client:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", client.port)) as connection:
                connection.sendall(head + image)
                while "\nsr_queue 1\n" not in client.ask("GET", "/metrics").body.decode():
                    time.sleep(0.01)
        reply = client.upscale(PNG)
        assert reply.status == 200
        assert 'status="499"} 3' in client.ask("GET", "/metrics").body.decode()


@pytest.mark.slow
def test_batches_differ_by_one_level_at_most() -> None:
    images = [make_image(size=(24, 20)) for _ in range(12)]
    with run_service(batch=True) as client, ThreadPoolExecutor(12) as pool:
        alone = np.asarray(Image.open(io.BytesIO(client.upscale(images[0]).body))).astype(int)
        for reply in pool.map(client.upscale, images):
            assert np.abs(np.asarray(Image.open(io.BytesIO(reply.body))).astype(int) - alone).max() <= 1


@contextlib.contextmanager
def start_command(*words: str) -> Iterator[tuple[subprocess.Popen, Client]]:
    """Run `sr.serve` as a process."""
    command = [sys.executable, "-m", "sr.serve", "port=0", "device=cpu", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process, Client(int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.kill()


@pytest.mark.slow
def test_sigterm_completes_what_is_accepted() -> None:
    image = make_image(size=(120, 100))
    with start_command("queue=64") as (process, client):
        early = client.upscale(image)
        assert early.status == 503 and early.headers["retry-after"]  # the network is not loaded yet
        assert client.ask("GET", "/healthz").status == 200
        client.wait_until_ready()
        expected = client.upscale(image).body
        stopped = threading.Event()

        def ask(_: int) -> list[int]:
            statuses = []
            while True:
                try:
                    reply = client.upscale(image)
                except ConnectionRefusedError:
                    return statuses  # nobody listens any more
                assert reply.status == 503 or reply.body == expected
                statuses.append(reply.status)
                if stopped.is_set() and reply.status == 503:
                    return statuses

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, k) for k in range(8)]
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            stopped.set()
            statuses = Counter(status for future in asked for status in future.result())
        assert set(statuses) <= {200, 503} and statuses[200]
        assert process.wait(30) == 0
        log = process.stderr.read()
    lines = [line for line in log.splitlines() if "POST" in line]
    assert len([line for line in lines if " 200 PNG 120×100 -> PNG 240×200 " in line]) == statuses[200] + 1
    assert "Traceback" not in log and log.endswith("the service has ended\n")


@pytest.mark.slow
def test_sigterm_after_a_client_has_left_is_no_crash() -> None:
    image = make_image(size=(500, 400))
    head = b"POST /upscale HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image)
    with start_command() as (process, client):
        client.wait_until_ready()
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.sendall(head + image)
            time.sleep(0.5)  # the network computes
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_second_signal_ends_at_once() -> None:
    with start_command() as (process, client), ThreadPoolExecutor(1) as pool:
        client.wait_until_ready()
        lost = pool.submit(client.upscale, make_image(size=(1000, 900)), "?tile=32")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            lost.result()


@pytest.mark.slow
def test_documented_commands(tmp_path: Path) -> None:
    """Those of docs/deploy.md, with another port."""
    (block,) = [b for b in list_blocks([ROOT / "docs/deploy.md"]) if "sr.serve" in b.text and b.language == "bash"]
    (tmp_path / "photo.jpg").write_bytes(make_image("JPEG"))
    serve, *others = [line for line in block.text.splitlines() if line]
    with start_command(*serve.partition("#")[0].split()[3:]) as (_, client):
        client.wait_until_ready()
        for line in others:
            subprocess.run(["bash", "-c", line.replace(":8000", f":{client.port}")], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "served.png") as result:
        assert (result.format, *result.size) == ("PNG", 40, 28)


def test_wrong_options_are_refused(sr: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for words, message in {
            (f"port={port}",): f"port={port}: cannot listen there",
            ("formats=[png,exe]",): "expected png, jpeg",
            ("max_bytes=many",): "max_bytes=many: expected a size",
            ("port=70000",): "port=70000",
            ("chekpoint=a",): 'Did you mean "checkpoint"',
        }.items():
            answer = sr("serve", *words)
            assert answer.code == 2 and message in answer.err, answer.err


@pytest.mark.slow
def test_missing_checkpoint_is_an_error_before_anything_is_accepted(sr: Any) -> None:
    answer = sr("serve", "port=0", "checkpoint=no.ckpt")
    assert answer.code == 2 and "checkpoint=no.ckpt" in answer.err
