"""`track=mlflow`: a run's journal, sent on to MLflow while it runs.

The journal's thread writes the run's folder; a process of its own (`sr.track.sender`) sends what is there. An MLflow that is
unreachable, slow or broken is told of in one line and tried again; what it has not got at the run's end waits for
`python -m sr.sync`.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal

from sr.record.result import SUMMARY_FILE, read_run_result
from sr.runtime.error import UserError
from sr.track.artifact import download_artifact
from sr.track.journal import Journal
from sr.track.server import connect, describe_error, plain
from sr.track.upload import Upload

OPENING = 30.0  # seconds that a run waits for its page in MLflow before it begins without
CLOSING = 60.0  # seconds that a run's end waits for an MLflow that answers
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
        system_interval: float | None = None,
    ) -> None:
        super().__init__(runs, experiment, group, panels, params, system_interval)
        if uri:
            _check(uri)
        self.uri = uri or f"sqlite:///{self.runs / 'mlflow.db'}"
        self.location = self.uri.removeprefix("sqlite:///")
        self.location_line = f"MLflow      {self.location}"
        self._sender: subprocess.Popen[str] | None = None
        self._ending = False

    def start(
        self, title: str, folder: Path, config: dict[str, Any], overrides: list[str], tags: dict[str, str]
    ) -> None:
        """An MLflow that does not answer is waited for in the background."""
        super().start(title, folder, config, overrides, tags)
        self._note(uri=plain(self.uri))
        opened = threading.Event()
        try:
            self._sender = begun(folder, self.uri, self.runs, self._orphans)
        except OSError as error:
            self._dead(error)
            return
        self._ear = threading.Thread(target=self._listen, args=(opened,), name="mlflow", daemon=True)
        self._ear.start()
        opened.wait(OPENING)

    def _finish(self) -> None:
        """Waits for what MLflow takes, `CLOSING` seconds at most."""
        if self._sender is not None:
            self._ending = True
            with contextlib.suppress(OSError):  # it died before
                self._sender.stdin.write("done\n")
                self._sender.stdin.flush()
            self._ear.join(CLOSING)
            self._sender.kill()
            self._ear.join()
            self._sender.communicate()  # closes what led to it
            self._sender = None
        upload = Upload(self._folder, self.uri, self.runs)
        if not upload.complete:
            left = f"{upload.left} points and pictures wait for MLflow"
            print(f"{left}: python -m sr.sync {self._folder}", file=sys.stderr)

    def find_checkpoint(self, run_id: str) -> Path:
        """Where the run's summary says that its best checkpoint is."""
        what = f"checkpoint=mlflow:{run_id}"
        try:
            client, _ = connect(self.uri, self.experiment, self.runs)
            with tempfile.TemporaryDirectory() as folder:
                download_artifact(client, run_id, SUMMARY_FILE, Path(folder))
                path = read_run_result(Path(folder)).checkpoint
        except Exception as error:  # whatever MLflow raises
            raise UserError(
                f"{what}: no finished run of that id at {self.location} ({describe_error(error)})"
            ) from error
        if path is None or not Path(path).exists():
            raise UserError(f"{what}: its checkpoint is not on this machine ({path})")
        return Path(path)

    def _listen(self, opened: threading.Event) -> None:
        """To what the sender tells, until it ends."""
        for line in self._sender.stdout:
            told = json.loads(line)
            if "known" in told:
                self.run_id, experiment_id = told["known"]
                self.view_command = self._page(experiment_id)
                self._note(run_id=self.run_id)
            if "failed" in told:
                what = f"MLflow at {self.location} does not answer ({told['failed']})"
                print(f"\n{what}: the run goes on, and it is tried again", file=sys.stderr)
            if "tried" in told:
                opened.set()
        opened.set()
        if not self._ending:
            self._dead(f"exit code {self._sender.wait()}")

    def _dead(self, why: object) -> None:
        what = (
            f"the process that sends to MLflow is gone ({why}): the run goes on, and keeps what it says in its folder"
        )
        print(f"\n{what}", file=sys.stderr)

    def _page(self, experiment_id: str) -> str:
        """The charts of all runs; without the two words in its address MLflow opens pages about language models."""
        served = self.uri.startswith("http")
        charts = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        start = "" if served else f"mlflow ui --host 127.0.0.1 --backend-store-uri {self.uri}\n  # then open "
        return f"{start}{self.uri.rstrip('/') if served else 'http://127.0.0.1:5000'}/{charts}"


def begun(folder: Path, uri: str, runs: Path, orphans: list[Path]) -> subprocess.Popen[str]:
    """The process that sends. It imports what this one imports; `uri` is no word of its command line, where anybody could
    read a password."""
    command = [sys.executable, "-P", "-m", "sr.track.sender"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(place or str(Path.cwd()) for place in sys.path)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables, start_new_session=True)
    order = {"folder": str(folder), "uri": uri, "runs": str(runs), "orphans": [str(orphan) for orphan in orphans]}
    with contextlib.suppress(OSError):  # it died at once: its silence tells
        process.stdin.write(f"{json.dumps(order)}\n")
        process.stdin.flush()
    return process


def _check(uri: str) -> None:
    """Raise where a mistyped address could never answer."""
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in SCHEMES:
        raise UserError(
            f"track.uri={uri}: expected the address of an MLflow server, such as http://127.0.0.1:5000, or of a database, "
            "such as sqlite:////home/me/mlflow.db; track=none or track=journal does without"
        )
