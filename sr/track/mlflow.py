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
from sr.track import identity
from sr.track.artifact import fetch
from sr.track.journal import Journal
from sr.track.life import set_right
from sr.track.upload import Upload, address, connected, plain, reason

PAUSE, LONGEST = 5.0, 60.0  # seconds between two uploads; it doubles after each that failed
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
        self.uri = uri or f"sqlite:///{self.runs / 'mlflow.db'}"
        self.where = self.uri.removeprefix("sqlite:///")
        self._opened, self._done = threading.Event(), threading.Event()
        self._sender: threading.Thread | None = None
        self._fails = 0  # uploads in a row that failed
        self._beaten = 0.0

    def start(self, title: str, folder: Path, config: dict[str, Any], typed: list[str], tags: dict[str, str]) -> None:
        """Raises where `uri` can be no MLflow; one that does not answer is waited for in the background."""
        _check(self.uri)
        super().start(title, folder, config, typed, tags)
        self.identity.uri = plain(self.uri)
        self._upload = Upload(folder, self.uri, self.runs)
        self._orphans = [lost for lost in set_right(self.runs) if lost != folder]
        self._sender = threading.Thread(target=self._send_until_done, name="mlflow", daemon=True)
        self._sender.start()
        self._opened.wait(OPENING)

    def end(self, status: str, exit: str | None = None) -> None:
        """Waits for what MLflow takes, `CLOSING` seconds at most."""
        super().end(status, exit)
        if self._sender is None:
            return
        self._done.set()
        self._sender.join(CLOSING)
        self._sender = None
        if self._upload.left or self._fails:
            print(f"{self._upload.left} points and pictures wait for MLflow: python -m sr.sync {self._folder}",
                  file=sys.stderr)  # fmt: skip

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
            answers = self._try()
            self._opened.set()
            if answers and self._orphans:
                self._bury(self._orphans.pop())
            self._done.wait(min(LONGEST, PAUSE * 2**self._fails))
        tries = 1 if self._fails else TRIES
        while not self._try() and (tries := tries - 1):
            time.sleep(TRIES - tries)

    def _try(self) -> bool:
        """Whether MLflow took all that may be sent."""
        try:
            self._upload.pump()
            self._announce()
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

    def _bury(self, lost: Path) -> None:
        """A run whose process is gone is not RUNNING in MLflow either."""
        with contextlib.suppress(Exception):  # its MLflow may be another one; `python -m sr.sync` tells what is wrong
            Upload(lost, address(identity.read(lost), self.runs), self.runs).pump()

    def _announce(self) -> None:
        """As soon as MLflow knows the run, its id stands in the run's folder."""
        if self.run_id is None and self._upload.run_id is not None:
            self.run_id = self.identity.run_id = self._upload.run_id
            self.page = self._page()
            identity.write(self._folder, self.identity)

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
