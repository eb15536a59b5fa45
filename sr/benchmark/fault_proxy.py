"""An MLflow server of one's own, and a gate in front of it that is late, broken or shut when told to be.

Both are processes of their own. The gate (`python -m sr.benchmark.fault_proxy PORT`) reads words from its standard input,
a line each, and answers each, when it is done, with the number of requests before; it ends with its input.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from sr.runtime.error import UserError

WAYS = ("open", "shut", "late", "broken")  # let through; refuse connections; let through after LATE; answer 500
LATE = 3.0  # seconds
STARTING = 120.0  # seconds that MLflow's server may take


class Server:
    """`mlflow server` on loopback, over a database of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Returns when it answers; at once, if it does already."""
        if self._process is not None:
            return
        place = Path(self._folder.name)
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                 "--backend-store-uri", f"sqlite:///{place}/served.db", "--artifacts-destination", str(place)]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + STARTING
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.2)
        self.kill()
        raise UserError("mlflow server did not start within two minutes")

    def kill(self) -> None:
        """SIGKILL, its workers included."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Gate:
    """The way to what listens on this port of loopback."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "sr.benchmark.fault_proxy", str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.uri = f"http://127.0.0.1:{self._answer()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def become(self, way: str) -> int:
        """One of `WAYS`; returns when it is: how many requests came before, since it was told the last time."""
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            raise UserError(f"the gate before MLflow's server ended (exit code {self._process.wait()})")
        return line


class Listener(ThreadingHTTPServer):
    """The gate's own side."""

    daemon_threads = True

    def __init__(self, port: int, target: str) -> None:
        self.target, self.way, self.came = target, "open", 0
        super().__init__(("127.0.0.1", port), Passing)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """From here on connections are refused."""
        self.shutdown()
        self.server_close()


class Passing(BaseHTTPRequestHandler):
    """One request."""

    server: Listener

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.came += 1
        if self.server.way == "broken":
            self._reply(500, b'{"error_code": "INTERNAL_ERROR", "message": "broken"}')
            return
        if self.server.way == "late":
            time.sleep(LATE)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
        request = urllib.request.Request(self.server.target + self.path, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._reply(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._reply(error.code, error.read())
        except OSError:
            self._reply(502, b"{}")

    def _reply(self, status: int, body: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever asked did not wait
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """The gate's process."""
    target = f"http://127.0.0.1:{sys.argv[1]}"
    listener: Listener | None = Listener(0, target)
    port = listener.server_address[1]
    print(port, flush=True)
    for line in sys.stdin:
        way, came = line.strip(), listener.came if listener else 0
        if way == "shut":
            if listener is not None:
                listener.close()
            listener = None
        else:
            listener = listener or Listener(port, target)
            listener.way, listener.came = way, 0
        print(came, flush=True)


if __name__ == "__main__":
    main()
