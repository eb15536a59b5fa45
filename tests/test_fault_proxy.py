"""The gate that stands before MLflow's server when outages are measured: it does what the rows of `sr.bench` say."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sr.benchmark import fault_proxy


class Echo(BaseHTTPRequestHandler):
    """Says what was said."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode() + b" " + body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def said(uri: str) -> tuple[bytes, float]:
    start = time.monotonic()
    with urllib.request.urlopen(f"{uri}/api?x=1", b"hello", timeout=10) as answer:
        return answer.read(), time.monotonic() - start


def test_it_lets_through_refuses_and_breaks_and_is_open_again(port: int) -> None:
    with fault_proxy.Gate(port) as way:
        assert said(way.uri)[0] == b"/api?x=1 hello"
        way.become("broken")
        with pytest.raises(urllib.error.HTTPError, match="500"):
            said(way.uri)
        assert way.become("shut") == 1
        with pytest.raises(urllib.error.URLError, match="refused"):
            said(way.uri)
        way.become("open")
        text, seconds = said(way.uri)
        assert text == b"/api?x=1 hello"
        assert seconds < fault_proxy.LATE


@pytest.mark.slow
def test_late_is_three_seconds(port: int) -> None:
    with fault_proxy.Gate(port) as way:
        way.become("late")
        text, seconds = said(way.uri)
    assert text == b"/api?x=1 hello"
    assert 3.0 <= seconds < 5.0
