"""A proxy in front of a server that can delay, fail or refuse requests, for tests and benchmarks.

It is a separate process. The proxy (`python -m sr.benchmark.fault_proxy PORT`) reads modes from its standard input, one
per line, and answers each, once it is set, with the number of requests since the last one. It ends with its input.
"""

import contextlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self

from sr.runtime.error import UserError

Mode = Literal["open", "closed", "delayed", "failing"]  # forward; refuse connections; forward after DELAY; answer 500
DELAY = 3.0  # seconds
UNFORWARDED_HEADERS = ("host", "connection", "accept-encoding")


class FaultProxy:
    """A proxy process in front of a port on the loopback interface; `uri` is its address."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "sr.benchmark.fault_proxy", str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.uri = f"http://127.0.0.1:{self._read_answer()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def set_mode(self, mode: Mode) -> int:
        """Set the mode, and return the number of requests since it was set the last time."""
        self._process.stdin.write(f"{mode}\n")
        self._process.stdin.flush()
        return int(self._read_answer())

    def _read_answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            raise UserError(f"the proxy in front of the server ended (exit code {self._process.wait()})")
        return line


class ProxyServer(ThreadingHTTPServer):
    """The HTTP server inside the proxy process; closing it refuses connections."""

    daemon_threads = True

    def __init__(self, port: int, target: str) -> None:
        self.target, self.mode, self.request_count = target, "open", 0
        super().__init__(("127.0.0.1", port), RequestForwarder)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class RequestForwarder(BaseHTTPRequestHandler):
    """Answers one request in the server's mode."""

    server: ProxyServer

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.request_count += 1
        if self.server.mode == "failing":
            self._reply(500, b'{"error_code": "INTERNAL_ERROR", "message": "broken"}')
            return
        if self.server.mode == "delayed":
            time.sleep(DELAY)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in UNFORWARDED_HEADERS}
        request = urllib.request.Request(self.server.target + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                self._reply(response.status, response.read())
        except urllib.error.HTTPError as error:
            self._reply(error.code, error.read())
        except OSError:
            self._reply(502, b"{}")

    def _reply(self, status: int, body: bytes) -> None:
        with contextlib.suppress(OSError):  # the client may have closed the connection
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    """Run the proxy process."""
    target = f"http://127.0.0.1:{sys.argv[1]}"
    server: ProxyServer | None = ProxyServer(0, target)
    port = server.server_address[1]
    print(port, flush=True)
    for line in sys.stdin:
        mode, count = line.strip(), server.request_count if server else 0
        if mode == "closed":
            if server is not None:
                server.close()
            server = None
        else:
            server = server or ProxyServer(port, target)
            server.mode, server.request_count = mode, 0
        print(count, flush=True)


if __name__ == "__main__":
    main()
