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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sr.runtime.error import UserError
from sr.track.ui import BACKEND, NO_JOBS

STARTUP_SECONDS = 120.0


class LocalServer:
    """`mlflow server` on the loopback interface.

    `database` is the address of its database; None: one of its own. `options` and `variables` are further ones of its
    command line and environment.
    """

    def __init__(
        self, database: str | None = None, options: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> None:
        self._options, self._variables = options, {**NO_JOBS, **os.environ, **(variables or {})}
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._variables[BACKEND] = database or f"sqlite:///{self._folder.name}/served.db"
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
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--artifacts-destination", self._folder.name, *self._options]  # fmt: skip
        log = Path(self._folder.name) / "log"
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options], env=self._variables,
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as response:
                if response.status == 200:
                    return
            time.sleep(0.2)
        self.kill()
        end = "".join(log.read_text(errors="replace").splitlines()[-1:])
        raise UserError(f"mlflow server did not start within {STARTUP_SECONDS:g} s ({end})")

    def kill(self) -> None:
        """Send SIGKILL to the server and its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
