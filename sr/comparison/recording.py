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
from sr.record.identity import FAILED, FINISHED, KILLED, RUN_FILE, Identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, Entry, append_entries, current_time_ms
from sr.record.past import FOLDER_TAG
from sr.record.run_file import write_atomic
from sr.record.run_folder import collect_options, create_run_folder
from sr.track.address import describe_location, remove_credentials
from sr.track.mlflow_format import DESCRIPTION
from sr.track.server_error import describe_error
from sr.track.upload import send_run

COMMAND = "compare"
MAX_REASON_LENGTH = 200  # characters


class ComparisonRun:
    """The run of one comparison. `uri` is the MLflow that it is sent to; None: none. `is_tracked`: it has a journal."""

    def __init__(self, config: Mapping[str, Any], uri: str | None, is_tracked: bool, title: str) -> None:
        self.config, self.uri, self.is_tracked, self.title = config, uri, is_tracked, title
        self.folder = Path()
        self._identity = Identity(experiment=config["track"].get("experiment"), command=COMMAND)
        self._identity.uri = remove_credentials(uri) if uri else None

    @contextlib.contextmanager
    def open(
        self, choices: dict[str, str], overrides: Sequence[str], tags: Mapping[str, str], description: str
    ) -> Iterator[Path]:
        """Create the folder for the block, and record the run with how the block ended and all files that are there."""
        options = collect_options(dict(self.config), choices, overrides)
        self.folder = create_run_folder(self.config["paths"]["runs"], self.title, options)
        self._identity.overrides = list(overrides)
        if self.is_tracked:
            self._identity.claim()
            write_identity(self.folder, self._identity)
        status, reason = FAILED, None
        try:
            yield self.folder
            status = FINISHED
        except BaseException as error:
            status = KILLED if isinstance(error, KeyboardInterrupt) else FAILED
            reason = str(error).partition("\n")[0][:MAX_REASON_LENGTH] or type(error).__name__
            raise
        finally:
            if self.is_tracked:
                self._record(tags, description, status, reason)

    def _record(self, tags: Mapping[str, str], description: str, status: str, reason: str | None) -> None:
        """Write the journal: every file of the folder, tags, the description of the run's page, and the status."""
        files = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        opening = {"id": self._identity.id, "title": self.title, "experiment": self._identity.experiment or "sr",
                   "tags": self._list_tags() | dict(tags), "params": {}}  # fmt: skip
        entries: list[Entry] = [{"open": opening, "time": current_time_ms()}]
        entries += [{"file": path.as_posix(), "to": path.parent.as_posix().strip(".")} for path in files
                    if not path.name.startswith(".") and path.name != RUN_FILE]  # fmt: skip
        entries.append({"tag": DESCRIPTION, "value": description})
        entries += [{"tag": "sr.exit", "value": reason}] if reason else []
        entries.append({"status": status, "time": current_time_ms()})
        write_atomic(self.folder / JOURNAL_FILE, b"")
        append_entries(self.folder / JOURNAL_FILE, entries)
        self._identity.status, self._identity.exit = status, reason
        write_identity(self.folder, self._identity)

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

    def _list_tags(self) -> dict[str, str]:
        tags = {"sr.id": self._identity.id, FOLDER_TAG: str(self.folder), "sr.verb": COMMAND}
        state = git.read_state(git.find_checkout())
        if state:
            tags |= {"sr.git.commit": state["sha"], "sr.git.branch": state["branch"], "sr.git.dirty": state["dirty"]}
        with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
            tags["sr.user"] = getpass.getuser()
        group = self.config["track"].get("group")
        return tags | ({"sr.group": group} if group else {})
