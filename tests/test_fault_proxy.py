"""The proxy in front of MLflow's server, with which `sr.bench` measures outages."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sr.benchmark import fault_proxy


class Echo(BaseHTTPRequestHandler):
    """Answers with the path and the body of the request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode() + b" " + body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def send_request(uri: str) -> bytes:
    with urllib.request.urlopen(f"{uri}/api?x=1", b"hello", timeout=60) as response:
        return response.read()


def test_it_forwards_fails_refuses_and_forwards_again(port: int) -> None:
    with fault_proxy.FaultProxy(port) as proxy:
        assert send_request(proxy.uri) == b"/api?x=1 hello"
        proxy.set_mode("failing")
        with pytest.raises(urllib.error.HTTPError, match="500"):
            send_request(proxy.uri)
        assert proxy.set_mode("closed") == 1
        with pytest.raises(urllib.error.URLError, match="refused"):
            send_request(proxy.uri)
        proxy.set_mode("open")
        assert send_request(proxy.uri) == b"/api?x=1 hello"


def test_only_a_delayed_request_waits(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    monkeypatch.setattr(fault_proxy.time, "sleep", delays.append)
    server = fault_proxy.ProxyServer(0, f"http://127.0.0.1:{port}")
    for server.mode in ("open", "delayed"):
        assert send_request(f"http://127.0.0.1:{server.server_address[1]}") == b"/api?x=1 hello"
    server.close()
    assert delays == [fault_proxy.DELAY]
