"""Record a comparison as a run: in a folder of its own and, with track=mlflow, in MLflow.

It writes what a tracker writes, without one: trackers are loggers of Lightning, which takes seconds to import.
"""

import contextlib
import getpass
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr.config.command_line import format_command
from sr.record import git
from sr.record.identity import FAILED, FINISHED, KILLED, Identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, Entry, append_entries, current_time_ms
from sr.record.past import FOLDER_TAG
from sr.record.run_file import write_atomic
from sr.record.run_folder import collect_options, create_run_folder
from sr.track.address import describe_location, remove_credentials
from sr.track.mlflow_format import DESCRIPTION
from sr.track.server_error import describe_error
from sr.track.upload import send_run

COMMAND = "compare"


class ComparisonRun:
    """The run of one comparison. `uri` is the MLflow that it is sent to; None: none. `is_tracked`: it has a journal."""

    def __init__(self, config: Mapping[str, Any], uri: str | None, is_tracked: bool, title: str) -> None:
        self.config, self.uri, self.is_tracked, self.title = config, uri, is_tracked, title
        self.folder = Path()
        self._identity = Identity(experiment=config["track"].get("experiment"), command=COMMAND)
        self._identity.uri = remove_credentials(uri) if uri else None

    @contextlib.contextmanager
    def open(self, choices: dict[str, str], overrides: Sequence[str]) -> Iterator[Path]:
        """Create the folder for the block, and close the run with how the block ended."""
        options = collect_options(dict(self.config), choices, overrides)
        self.folder = create_run_folder(self.config["paths"]["runs"], self.title, options)
        self._identity.overrides = list(overrides)
        if self.is_tracked:
            self._identity.claim()
            write_identity(self.folder, self._identity)
        try:
            yield self.folder
        except BaseException as error:
            self._close(KILLED if isinstance(error, KeyboardInterrupt) else FAILED, str(error) or type(error).__name__)
            raise
        self._close(FINISHED, None)

    def record(self, tags: Mapping[str, str], description: str) -> None:
        """Write the journal: every file of the folder, these tags, and the description of the run's page."""
        if not self.is_tracked:
            return
        files = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        opening = {"id": self._identity.id, "title": self.title, "experiment": self._identity.experiment or "sr",
                   "tags": self._list_tags() | dict(tags), "params": {}}  # fmt: skip
        entries: list[Entry] = [{"open": opening, "time": current_time_ms()}]
        entries += [{"file": path.as_posix(), "to": path.parent.as_posix().strip(".")} for path in files
                    if not path.name.startswith(".") and path.name != "run.json"]  # fmt: skip
        entries.append({"tag": DESCRIPTION, "value": description})
        write_atomic(self.folder / JOURNAL_FILE, b"")
        append_entries(self.folder / JOURNAL_FILE, entries)

    def print_location(self) -> None:
        """Print the folder, and where MLflow shows the run; what MLflow did not accept is sent by `sr.sync`."""
        run_id, problem = self._send()
        if run_id:
            print(f"run         {run_id}")
        print(f"folder      {self.folder}")
        if self.uri:
            print(f"MLflow      {describe_location(self.uri)}")
        if problem:
            command = format_command("sr.sync", {}, [str(self.folder)])
            print(f"not sent to MLflow ({problem}): {command}", file=sys.stderr)

    def _send(self) -> tuple[str | None, str | None]:
        """Send the run; return its ID in MLflow, or why it was not accepted."""
        if not self.uri:
            return None, None
        try:
            upload = send_run(self.folder, self.uri)
        except Exception as error:  # whatever MLflow raises
            return None, describe_error(error)
        return upload.run_id if upload else None, None

    def _close(self, status: str, reason: str | None) -> None:
        if not self.is_tracked:
            return
        if (self.folder / JOURNAL_FILE).exists():
            append_entries(self.folder / JOURNAL_FILE, [{"status": status, "time": current_time_ms()}])
        self._identity.status, self._identity.exit = status, reason
        write_identity(self.folder, self._identity)

    def _list_tags(self) -> dict[str, str]:
        tags = {"sr.id": self._identity.id, FOLDER_TAG: str(self.folder), "sr.verb": COMMAND}
        state = git.read_state(git.find_checkout())
        if state:
            tags |= {"sr.git.commit": state["sha"], "sr.git.branch": state["branch"], "sr.git.dirty": state["dirty"]}
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["sr.user"] = getpass.getuser()
        group = self.config["track"].get("group")
        return tags | ({"sr.group": group} if group else {})
