"""A thread instead of the process that sends to MLflow, for tests of what is sent: importing MLflow takes two seconds."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from queue import Queue
from threading import Thread

from sr.track.sender import Sender
from sr.track.server import connect
from sr.track.upload import Upload, send_run

SQLITE = "sqlite:///"


class SenderThread:
    """What `sr.track.mlflow` uses of a `subprocess.Popen` of the sender. The real one is tested in test_sender.py."""

    def __init__(self, folder: Path, uri: str, runs: Path, orphans: list[Path]) -> None:
        database = Path(uri.removeprefix(SQLITE))
        if uri.startswith(SQLITE) and not database.exists():
            copy_database(database)
        self.stdin = self
        self._messages: Queue[str | None] = Queue()
        self._sender = Sender(Upload(folder, uri, runs), self._report)
        self._orphans, self._uri = orphans, uri
        self._thread = Thread(target=self._send, daemon=True)
        self._thread.start()

    @property
    def stdout(self) -> Iterator[str]:
        return iter(self._messages.get, None)

    def write(self, text: str) -> None:
        if text == "done\n":
            self._sender.done.set()

    def flush(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self) -> int:
        self._thread.join()
        return 0

    def communicate(self) -> None: ...

    def _report(self, **message: object) -> None:
        self._messages.put(json.dumps(message))

    def _send(self) -> None:
        self._sender.attempt()
        self._report(tried=True)
        for folder in self._orphans:
            send_run(folder, self._uri)
        self._sender.run()
        self._messages.put(None)


def copy_database(path: Path) -> None:
    """Put a database of MLflow without runs to this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(create_database(), path)


@cache
def create_database() -> Path:
    """Return a database of MLflow without runs; creating its tables takes more than a second."""
    folder = Path(tempfile.mkdtemp())
    connect(f"{SQLITE}{folder}/mlflow.db", "Default", folder)
    return folder / "mlflow.db"
