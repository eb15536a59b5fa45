"""Start the process that sends a run's journal to MLflow, before the run itself has imported its libraries.

The process imports MLflow, which takes two seconds, while the run imports PyTorch, and then waits for its order.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr.runtime.launch import find_rank
from sr.track.address import is_server

DATABASE_WORD = "database"  # on the command line of the process: it imports what MLflow needs for one
TRACKER = "sr.track.mlflow.MLflow"  # the tracker that needs the process
_prepared: list[subprocess.Popen[str]] = []


def prepare_sender(track: Mapping[str, Any]) -> None:
    """Start the process now if the tracker of the config `track` will need it; it ends with this process."""
    if track.get("_target_") == TRACKER and find_rank() == 0 and not _prepared:
        with contextlib.suppress(OSError):  # `start_sender` raises it
            _prepared.append(_open_process(is_server(track.get("uri") or "")))


def start_sender(folder: Path, uri: str, runs: Path, orphans: list[Path]) -> subprocess.Popen[str]:
    """Have the prepared process, or else a new one, send the journal in `folder`. Raises OSError if there can be none.

    `uri` goes through a pipe: anybody on the machine could read a password on its command line. `orphans` are the folders
    of runs that were found dead; their status is sent too.
    """
    process = _prepared.pop() if _prepared else _open_process(is_server(uri))
    order = {"folder": str(folder), "uri": uri, "runs": str(runs), "orphans": [str(orphan) for orphan in orphans]}
    with contextlib.suppress(OSError):  # it died at once, which the end of its output shows
        process.stdin.write(f"{json.dumps(order)}\n")
        process.stdin.flush()
    return process


def _open_process(with_server: bool) -> subprocess.Popen[str]:
    """Start the process with the import path of this one; `with_server` if it will send to a server, not to a database."""
    command = [sys.executable, "-P", "-m", "sr.track.sender", *([] if with_server else [DATABASE_WORD])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables, start_new_session=True)
