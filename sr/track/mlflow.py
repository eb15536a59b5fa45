"""`track=mlflow`: a run's journal, sent on to MLflow while it runs.

Two threads: the journal's writes the run's folder, this one sends what is there. An MLflow that is unreachable, slow or
broken is told of in one line and tried again; what it has not got at the run's end waits for `python -m sr.sync`.
"""

import contextlib
import json
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sr.error import UserError
from sr.track.artifact import fetch
from sr.track.journal import Journal
from sr.track.server import connected, plain, reason
from sr.track.upload import Upload, send

PAUSE, LONGEST, DOUBLINGS = 5.0, 60.0, 5  # seconds between two uploads, which double after each that failed
OPENING = 30.0  # seconds that a run waits for its page in MLflow before it begins without
CLOSING = 60.0  # seconds that a run's end waits for an MLflow that answers
TRIES = 3  # of an upload at the end, if MLflow had answered until then
BEAT = 60.0  # seconds between signs of life
SCHEMES = ("http", "https", "sqlite", "mysql", "postgresql", "mssql")


class MLflow(Journal):
    """One run. `uri` defaults to an absolute sqlite file, `mlflow.db` in `runs`."""

    def __init__(
        self,
        uri: str | None,
        runs: str,
        experiment: str,
        group: str | None = None,
        panels: int = 4,
        params: Literal["short", "all"] = "short",
        system_every: float | None = None,
    ) -> None:
        super().__init__(runs, experiment, group, panels, params, system_every)
        if uri:
            _check(uri)
        self.uri = uri or f"sqlite:///{self.runs / 'mlflow.db'}"
        self.where = self.uri.removeprefix("sqlite:///")
        self._opened, self._done = threading.Event(), threading.Event()
        self._sender: threading.Thread | None = None
        self._fails = 0  # uploads in a row that failed
        self._beaten = 0.0

    def start(self, title: str, folder: Path, config: dict[str, Any], typed: list[str], tags: dict[str, str]) -> None:
        """An MLflow that does not answer is waited for in the background."""
        super().start(title, folder, config, typed, tags)
        self._note(uri=plain(self.uri))
        self._upload = Upload(folder, self.uri, self.runs)
        self._sender = threading.Thread(target=self._send_until_done, name="mlflow", daemon=True)
        self._sender.start()
        threading.Thread(target=self._bury, args=(self._orphans,), name="orphans", daemon=True).start()
        self._opened.wait(OPENING)

    def _finish(self) -> None:
        """Waits for what MLflow takes, `CLOSING` seconds at most."""
        if self._sender is None:
            return
        self._done.set()
        self._sender.join(CLOSING)
        if self._sender.is_alive() or self._fails or not self._upload.complete:
            left = f"{self._upload.left} points and pictures wait for MLflow"
            print(f"{left}: python -m sr.sync {self._folder}", file=sys.stderr)
        self._sender = None

    def checkpoint_of(self, run_id: str) -> str:
        """Where the run's summary says that its best checkpoint is."""
        what = f"checkpoint=mlflow:{run_id}"
        try:
            client, _ = connected(self.uri, self.experiment, self.runs)
            with tempfile.TemporaryDirectory() as folder:
                file = fetch(client, run_id, "summary.json", Path(folder))
                path = json.loads(file.read_text(encoding="utf-8"))["checkpoint"]
        except Exception as error:  # whatever MLflow raises
            raise UserError(f"{what}: no finished run of that id at {self.where} ({reason(error)})") from error
        if path is None or not Path(path).exists():
            raise UserError(f"{what}: its checkpoint is not on this machine ({path})")
        return path

    def _send_until_done(self) -> None:
        while not self._done.is_set():
            self._try()
            self._opened.set()
            self._done.wait(min(LONGEST, PAUSE * 2 ** min(self._fails, DOUBLINGS)))
        tries = 1 if self._fails else TRIES
        while not self._try() and (tries := tries - 1):
            time.sleep(TRIES - tries)

    def _try(self) -> bool:
        """Whether MLflow took all that may be sent."""
        try:
            self._upload.connect()
            self._announce()
            self._upload.pump()
            if time.monotonic() - self._beaten > BEAT:
                self._upload.beat(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
                self._beaten = time.monotonic()
        except Exception as error:  # whatever MLflow raises: sqlalchemy's, requests', its own
            if not self._fails:
                told = f"\nMLflow at {self.where} does not answer ({reason(error)}): the run goes on, and it is tried again"
                print(told, file=sys.stderr)
            self._fails += 1
            return False
        self._fails = 0
        return True

    def _bury(self, orphans: list[Path]) -> None:
        """Runs whose processes are gone are not RUNNING in this MLflow either; of another one, `python -m sr.sync` tells."""
        self._opened.wait()
        for folder in orphans:
            with contextlib.suppress(Exception):  # the next run, or `python -m sr.sync`, tries again
                send(folder, self.uri)

    def _announce(self) -> None:
        """As soon as MLflow knows the run, its id stands in the run's folder."""
        if self.run_id is None and self._upload.run_id is not None:
            self.run_id = self._upload.run_id
            self.page = self._page()
            self._note(run_id=self.run_id)

    def _page(self) -> str:
        """The charts of all runs; without the two words in its address MLflow opens pages about language models."""
        served = self.uri.startswith("http")
        charts = f"#/experiments/{self._upload.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        start = "" if served else f"mlflow ui --host 127.0.0.1 --backend-store-uri {self.uri}\n  # then open "
        return f"{start}{self.uri.rstrip('/') if served else 'http://127.0.0.1:5000'}/{charts}"


def _check(uri: str) -> None:
    """Raise where a mistyped address could never answer."""
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in SCHEMES:
        raise UserError(
            f"track.uri={uri}: expected the address of an MLflow server, such as http://127.0.0.1:5000, or of a database, "
            "such as sqlite:////home/me/mlflow.db; track=none or track=journal does without"
        )
