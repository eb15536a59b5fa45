"""An MLflow server of one's own, for tests and benchmarks."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Self

from sr.runtime.error import UserError

STARTUP_SECONDS = 120.0


class LocalServer:
    """`mlflow server` on the loopback interface, with a database of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the server unless it runs, and return when it answers."""
        if self._process is not None:
            return
        folder = Path(self._folder.name)
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{folder}/served.db", "--artifacts-destination", str(folder)]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as response:
                if response.status == 200:
                    return
            time.sleep(0.2)
        self.kill()
        raise UserError(f"mlflow server did not start within {STARTUP_SECONDS:g} s")

    def kill(self) -> None:
        """Send SIGKILL to the server and its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
