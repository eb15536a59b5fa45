"""`track=mlflow`: a run's journal, sent on to MLflow while it runs.

The journal's thread writes the run's folder; a process of its own (`sr.track.sender`) sends what is in it. An MLflow that
is unreachable, slow or broken is reported in one line and tried again; what it has not received by the end of the run
waits for `python -m sr.sync`.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

from sr.config.command_line import format_command
from sr.record.result import store_run_id
from sr.runtime.option_types import NonEmptyStr, NonNegativeInt, PathStr, PositiveFloat
from sr.runtime.redact import mask_passwords
from sr.track.address import (
    check_uri,
    default_uri,
    describe_location,
    is_server,
    remove_credentials,
)
from sr.track.journal import Journal
from sr.track.saved_view import VIEW_NAME
from sr.track.sender_process import start_sender
from sr.track.stored_checkpoint import find_checkpoint
from sr.track.upload import Upload

PAGE_TIMEOUT = 30.0  # seconds that the results of a run wait for its page in MLflow, whose ID they contain
FINISH_TIMEOUT = 60.0  # seconds that the end of a run waits for an MLflow that answers
IGNORED_VARIABLES = {  # of MLflow -> why, and what to type instead
    "MLFLOW_EXPERIMENT_ID": "a run finds its experiment by name: type track.experiment=NAME, or set MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID": "each run gets a page of its own; resume=RUN continues a run of sr",
}


class MLflow(Journal):
    """One run. `uri` defaults to an SQLite database, `mlflow.db` in `runs`."""

    def __init__(
        self,
        uri: str | None,
        runs: PathStr,
        experiment: NonEmptyStr,
        group: str | None = None,
        panels: NonNegativeInt = 4,
        params: Literal["short", "all"] = "short",
        system_interval: PositiveFloat | None = None,
        checkpoints: Literal["best", "all", "none"] = "best",
    ) -> None:
        super().__init__(runs, experiment, group, panels, params, system_interval, checkpoints)
        if uri:
            check_uri(uri)
        self.uri = uri or default_uri(self.runs)
        self.location = describe_location(self.uri)
        self.location_line = f"MLflow      {self.location}"
        self._sender: subprocess.Popen[str] | None = None
        self._first_attempt = threading.Event()  # MLflow has answered, or cannot be reached
        self._is_closing = False

    def start(
        self, title: str, folder: Path, params: dict[str, str], overrides: list[str], tags: dict[str, str]
    ) -> None:
        """Open the run; it gets its page in MLflow in the background, and begins meanwhile."""
        super().start(title, folder, params, overrides, tags)
        self._update_identity(uri=remove_credentials(self.uri))
        for name in IGNORED_VARIABLES.keys() & os.environ.keys():
            print(f"note: {name} is not used: {IGNORED_VARIABLES[name]}", file=sys.stderr)
        try:
            self._sender = start_sender(folder, self.uri, self.runs, self._orphans)
        except OSError as error:
            self._report_dead_sender(error)
            self._first_attempt.set()
            return
        self._listener = threading.Thread(target=self._listen, name="mlflow", daemon=True)
        self._listener.start()

    def wait_for_page(self) -> None:
        """Return once MLflow has answered or cannot be reached, after `PAGE_TIMEOUT` seconds at the latest."""
        self._first_attempt.wait(PAGE_TIMEOUT)

    def _finish_sending(self) -> None:
        """Wait for what MLflow accepts, at most `FINISH_TIMEOUT` seconds, and end the process that sends."""
        if self._sender is not None:
            self._is_closing = True
            with contextlib.suppress(OSError):  # it has died already
                self._sender.stdin.write("done\n")
                self._sender.stdin.flush()
            self._listener.join(FINISH_TIMEOUT)
            self._sender.kill()
            self._listener.join()
            self._sender.communicate()  # closes its pipes
            self._sender = None
        upload = Upload(self._folder, self.uri, self.runs)
        if upload.run_id:
            self._store_run_id(upload.run_id)
        if not upload.is_complete:
            unsent = f"{upload.unsent_count} points and images wait for MLflow"
            print(f"{unsent}: {format_command('sr.sync', {}, [str(self._folder)])}", file=sys.stderr)

    def _store_run_id(self, run_id: str) -> None:
        """Write the ID into run.json and summary.json: MLflow may have answered only after the summary was written."""
        self.run_id = run_id
        if self.identity.run_id != run_id:
            self._update_identity(run_id=run_id)
        with contextlib.suppress(OSError):  # a full disk, which was reported; run.json has the ID
            store_run_id(self._folder, run_id)

    def find_checkpoint(self, address: str) -> Path:
        """Return the checkpoint of an address at the MLflow of this run."""
        return find_checkpoint(address, self.uri)

    def _listen(self) -> None:
        """Receive the messages of the process that sends, until it ends (see `Sender`)."""
        try:
            self._receive_messages()
        finally:
            self._first_attempt.set()
        if not self._is_closing:
            self._report_dead_sender(f"exit code {self._sender.wait()}")

    def _receive_messages(self) -> None:
        for line in self._sender.stdout:
            message = json.loads(line)
            if "known" in message:
                self.run_id, experiment_id = message["known"]
                if self.identity.run_id not in (None, self.run_id):  # another server, or the runs were moved without it
                    print(f"\nMLflow at {self.location} has no run {self.identity.run_id}: it is {self.run_id} there")
                self.view_command = self._format_view_command(experiment_id)
                self._update_identity(run_id=self.run_id)
            if "failed" in message:
                problem = f"MLflow at {self.location} does not answer ({message['failed']})"
                print(f"\n{problem}: the run goes on, and it is tried again", file=sys.stderr)
            if "refused" in message:
                print(f"\nMLflow at {self.location}: {message['refused']}", file=sys.stderr)
                print("The run goes on, and its folder records everything for python -m sr.sync", file=sys.stderr)
            if message.keys() & {"known", "tried"}:
                self._first_attempt.set()

    def _report_dead_sender(self, reason: object) -> None:
        problem = f"the process that sends to MLflow has ended ({reason})"
        print(f"\n{problem}: the run goes on, and its folder holds what is not sent", file=sys.stderr)

    def _format_view_command(self, experiment_id: str) -> str:
        """Return the address of the charts of all runs, for a local database with the command that serves them.

        Without its first word MLflow opens pages about language models, without its last charts are sorted by name.
        """
        options = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW_NAME}"
        charts = f"#/experiments/{experiment_id}/runs?{options}"
        if is_server(self.uri):
            return f"{self.location.rstrip('/')}/{charts}"
        store = shlex.quote(mask_passwords(self.uri))
        return f"mlflow ui --host 127.0.0.1 --backend-store-uri {store}\n  # then open http://127.0.0.1:5000/{charts}"
