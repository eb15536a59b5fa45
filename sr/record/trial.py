"""A run that is a trial of a sweep: the variables of its environment, and the connection to the process that sweeps.

The sweep starts `python -m sr.run` with one end of a socket. The run sends a JSON line with its folder, and one at each
validation, which the sweep answers with a line: go on, or stop because other trials were better by then.
"""

import json
import os
import socket
from typing import Any, Self

NAME_VARIABLE, NUMBER_VARIABLE, CHANNEL_VARIABLE = "SR_SWEEP", "SR_TRIAL", "SR_SWEEP_CHANNEL"
CONTINUE, PRUNE = "continue", "prune"


def list_trial_tags() -> dict[str, str]:
    """Return the tags that tie the runs of a sweep together; none if this run belongs to no sweep."""
    tags = {"sr.sweep": os.environ.get(NAME_VARIABLE), "sr.trial": os.environ.get(NUMBER_VARIABLE)}
    return {tag: value for tag, value in tags.items() if value is not None}


class TrialChannel:
    """The end of the socket that the run has."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rw", encoding="utf-8")

    @classmethod
    def open(cls) -> Self | None:
        """Return the channel to the sweep that started this process; None if none did."""
        descriptor = os.environ.pop(CHANNEL_VARIABLE, None)  # processes that this one starts have no channel
        return cls(socket.socket(fileno=int(descriptor))) if descriptor else None

    def send(self, **message: Any) -> None:
        """Send one message. Raise `BrokenPipeError` if the sweep's process has ended."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def ask(self, **message: Any) -> str:
        """Send one message and return the answer; empty if the sweep's process has ended."""
        self.send(**message)
        return self._file.readline().strip()
