"""One trial of a sweep in a process of its own, `python -m sr.run`: its memory is freed after it, and it may crash."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sr.record.trial import CHANNEL_VARIABLE, CONTINUE, NAME_VARIABLE, NUMBER_VARIABLE, PRUNE

EXIT_INTERRUPTED = 130
MAX_REASON_LENGTH = 300
COMMAND = (sys.executable, "-m", "sr.run")


class TrialProcess:
    """A running trial, with its log and the channel by which it reports its validations."""

    def __init__(self, sweep: str, number: int, words: Sequence[str], log: Path, threads: int) -> None:
        self.log, self.start_time = log, time.monotonic()
        ours, theirs = socket.socketpair()
        environment = os.environ | {
            NAME_VARIABLE: sweep,
            NUMBER_VARIABLE: str(number),
            CHANNEL_VARIABLE: str(theirs.fileno()),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        }
        with log.open("ab") as output, theirs:
            self.process = subprocess.Popen(
                [*COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        ours.setblocking(False)
        self._connection, self._received = ours, b""

    @property
    def seconds(self) -> float:
        """The time since the trial began."""
        return time.monotonic() - self.start_time

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self.process.poll() is not None

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that have arrived; each must be answered."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while block := self._connection.recv(1 << 16):
                self._received += block
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            yield json.loads(line)

    def answer(self, prune: bool) -> None:
        """Let the trial go on, or end early."""
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self._connection.sendall(f"{PRUNE if prune else CONTINUE}\n".encode())

    def close(self) -> None:
        """Close the channel."""
        self._connection.close()

    def read_reason(self) -> str:
        """Return why the trial failed, from its exit code and the last lines of its log."""
        code = self.process.returncode
        if code < 0:
            return f"ended by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        last = (errors or lines or [f"exit code {code}"])[-1]
        return last.removeprefix("error: ")[:MAX_REASON_LENGTH]
