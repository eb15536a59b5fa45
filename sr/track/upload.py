"""Send a run's journal to MLflow, in batches; to send anything again changes nothing.

`cursor.json` in the run's folder holds up to which byte MLflow has everything that may be sent. Points and images of
steps after the last checkpoint must wait: a run that is killed repeats these steps, and its curves would have them twice.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sr.record.identity import FINISHED, RUNNING, lock_run, read_identity, write_identity
from sr.record.journal_format import CONTROL, JOURNAL_FILE, OPENING, Entry, Placed, is_later, read_entries
from sr.record.json_text import to_json
from sr.record.past import find_origin, read_past
from sr.record.result import store_run_id
from sr.record.run_file import read_text, write_atomic
from sr.runtime.error import UserError
from sr.track.address import find_database, remove_credentials, resolve_address
from sr.track.artifact import resolve_artifact_path
from sr.track.image_files import make_grid_files
from sr.track.metric_rows import Point, insert_points
from sr.track.mlflow_format import (
    CURSOR_FILE,
    MAX_DIGEST_LENGTH,
    MAX_METRICS,
    MAX_OTHERS,
    convert_image_key,
    convert_tag,
    limit_parameter,
    list_points,
    list_tags,
    name_image_files,
    sanitize_key,
)
from sr.track.saved_view import SavedView
from sr.track.server import connect
from sr.track.server_error import describe_error, is_value_error

ENTRIES_PER_BATCH = 200
IMAGE_GRID_FOLDER = "images"  # of the run's artifacts, where MLflow looks for the images of its grid
NO_CHECKPOINT = -1  # before the first one no step is safe, not even step 0, at which the untrained net is evaluated
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"  # MLflow's code for an ID that it does not know


class Upload:
    """Sends one run to the MLflow at `uri`. `send_all` raises what MLflow raises; what it did not accept is sent again.

    `runs` holds the lock for creating a database and, of a local one, the artifacts. While MLflow does not answer, what
    is to be sent waits in the journal and not in memory.
    """

    def __init__(self, folder: Path, uri: str, runs: Path) -> None:
        self.folder, self.uri, self.runs = folder, uri, runs
        self.experiment_id: str | None = None
        self.entries_sent = 0  # by this object
        self._client: Any = None
        self._saved_view = SavedView()
        self._opening_id = ""  # our ID of the run
        self._metric_names: set[str] = set()  # that MLflow's client has sent
        self._load_cursor(_read_cursor(folder, uri))

    def _load_cursor(self, cursor: dict[str, Any]) -> None:
        """Begin where the cursor says, with an empty one at the beginning."""
        folder = self.folder
        self.run_id: str | None = cursor.get("run_id")
        size = (folder / JOURNAL_FILE).stat().st_size if (folder / JOURNAL_FILE).exists() else 0
        if cursor.get("offset", 0) > size:  # a machine that crashed lost lines that MLflow has
            cursor = {}
        self._offset = cursor.get("offset", 0)  # before the first entry that is not sent, or must wait
        self._sent_end = max(self._offset, cursor.get("past", 0))  # before this, everything that may be sent is sent
        self._saved_step = cursor.get("settled", NO_CHECKPOINT)  # of the newest checkpoint
        self._written_cursor = ""
        self._scan_offset = self._offset  # where `_scan_control_entries` continues
        self._is_ended, self._is_finished = False, False
        self._rewinds: list[tuple[int, int]] = []  # offset of the entry, and the step from which training resumed

    @property
    def unsent_count(self) -> int:
        """Points and images that MLflow does not have, those that must wait included."""
        entries = (placed.entry for placed in read_entries(self.folder / JOURNAL_FILE, self._offset))
        return sum(len(entry.get("points", ())) + ("image" in entry) for entry in entries)

    @property
    def is_complete(self) -> bool:
        """True if MLflow has everything that may be sent."""
        self._scan_control_entries()
        return next(self._list_sendable(), None) is None

    def send_all(self) -> None:
        """Send everything that may be sent."""
        self._scan_control_entries()
        while batch := list(itertools.islice(self._list_sendable(), ENTRIES_PER_BATCH)):
            self.connect()
            self._send_entries([placed.entry for placed in batch])
            self.entries_sent += len(batch)
            self._sent_end = batch[-1].end
            self._advance_cursor()
            self._scan_control_entries()
        self._advance_cursor()

    def connect(self) -> None:
        """Find the run in MLflow, or create it there."""
        if self._client is not None:
            return
        opened = read_past(self.folder, OPENING).opening
        if opened is None:
            raise UserError(
                f"{self.folder / JOURNAL_FILE}: expected a line that opens the run (it is missing or damaged); "
                f"resume={self.folder} writes a new one"
            )
        client, self.experiment_id = connect(self.uri, opened["experiment"], self.runs)
        if self.run_id is not None and not _has_run(client, self.run_id):
            self._load_cursor({})  # the database was deleted, and this is a new one: it gets everything
        if self.run_id is None:  # it may have been created, and the answer lost
            has_our_id = f"tags.`sr.id` = '{opened['id']}'"
            matches = client.search_runs([self.experiment_id], has_our_id, max_results=1)
            self.run_id = matches[0].info.run_id if matches else None
        if self.run_id is None:
            tags = dict(pair for tag in opened["tags"].items() for pair in convert_tag(*tag))
            run = client.create_run(self.experiment_id, run_name=opened["title"], tags=tags)
            self.run_id = run.info.run_id
        self._client, self._opening_id = client, opened["id"]
        self._advance_cursor()

    def set_heartbeat(self, time: str) -> None:
        """Set a tag that says when the run was last seen alive."""
        if self._client is not None:
            self._client.set_tag(self.run_id, "sr.heartbeat", time)

    def _scan_control_entries(self) -> None:
        """Read what the lines that were written since the last call say about other lines."""
        for placed in read_entries(self.folder / JOURNAL_FILE, self._scan_offset, CONTROL):
            self._scan_offset, entry = placed.end, placed.entry
            if "settled" in entry:
                self._saved_step = max(self._saved_step, entry["settled"])
            elif "back" in entry:
                self._rewinds.append((placed.start, entry["back"]))
                self._saved_step, self._sent_end = entry["back"], self._offset
            else:
                self._is_ended = "status" in entry
                self._is_finished = entry.get("status") == FINISHED  # then no step is repeated

    def _list_sendable(self) -> Iterator[Placed]:
        """Yield entries that may be sent and were not: those that belong to no step, and those of steps that a checkpoint
        covers. An entry that must wait holds up all after it, unless the run has ended."""
        start = self._sent_end if self._is_ended else self._offset
        for placed in read_entries(self.folder / JOURNAL_FILE, start):
            if self._is_void(placed) or placed.entry.keys() & {"settled", "back"}:
                continue
            if self._must_wait(placed.entry):
                if not self._is_ended:
                    return
            elif placed.start >= self._sent_end:
                yield placed

    def _is_void(self, placed: Placed) -> bool:
        return any(offset > placed.start and is_later(placed.entry, step) for offset, step in self._rewinds)

    def _must_wait(self, entry: Entry) -> bool:
        return not self._is_finished and is_later(entry, self._saved_step)

    def _advance_cursor(self) -> None:
        """Move the cursor to the first entry that must wait, and write it."""
        offset = self._offset
        for placed in read_entries(self.folder / JOURNAL_FILE, self._offset):
            if placed.start >= self._sent_end or (not self._is_void(placed) and self._must_wait(placed.entry)):
                break
            offset = placed.end
        self._offset = offset
        text = to_json(
            {
                "uri": remove_credentials(self.uri),
                "run_id": self.run_id,
                "offset": self._offset,
                "past": self._sent_end,
                "settled": self._saved_step,
            },
            indent=None,
        )
        if text != self._written_cursor:
            write_atomic(self.folder / CURSOR_FILE, text)
            self._written_cursor = text

    def _send_entries(self, entries: list[Entry]) -> None:
        """Send entries, a status last: once MLflow has it, it has everything."""
        self._send_values(entries)
        images = [convert_image_key(entry["image"]) for entry in entries if "image" in entry]
        metrics = [name for name, *_ in list_points(entries)]
        self._saved_view.extend(self._client, self.experiment_id, metrics, images)
        for entry in entries:
            if "image" in entry:
                self._send_image(entry)
            if "file" in entry:
                self._send_file(entry["file"], entry["to"])
            if "dataset" in entry:
                self._try_call(self._send_dataset, entry["dataset"])
        for entry in entries:
            if "again" in entry:
                self._client.update_run(self.run_id, status=RUNNING)
            elif "status" in entry:
                self._client.set_terminated(self.run_id, entry["status"], entry["time"])

    def _send_values(self, entries: list[Entry]) -> None:
        """Send the metrics, parameters and tags of entries."""
        from mlflow.entities import Param, RunTag

        opened = [entry["open"] for entry in entries if "open" in entry and entry["open"]["id"] == self._opening_id]
        params = {sanitize_key(key): limit_parameter(value) for one in opened for key, value in one["params"].items()}
        tags = dict(list_tags(entries))
        self._send_points(list(list_points(entries)))
        self._send_in_batches("params", [Param(*item) for item in params.items()], MAX_OTHERS)
        self._send_in_batches("tags", [RunTag(*item) for item in tags.items()], MAX_OTHERS)

    def _send_points(self, points: list[Point]) -> None:
        """Send points, newest first; to a local database MLflow's client sends the newest of each new name, to validate it."""
        from mlflow.entities import Metric

        database = find_database(self.uri)
        if database is not None:
            first = {point[0]: point for point in reversed(points) if point[0] not in self._metric_names}
            self._send_in_batches("metrics", [Metric(*point) for point in first.values()], MAX_METRICS)
            self._metric_names |= first.keys()
            points = insert_points(database, self.run_id, [point for point in points if point != first.get(point[0])])
        self._send_in_batches("metrics", [Metric(*point) for point in points], MAX_METRICS)

    def _send_in_batches(self, kind: str, items: list[Any], size: int) -> None:
        for start in range(0, len(items), size):
            self._send_batch(kind, items[start : start + size])

    def _send_file(self, name: str, to: str) -> None:
        """Send a file of the run's folder; the journal may be somebody else's, and name any other."""
        path = resolve_artifact_path(self.folder, name)
        if path.is_file():
            self._try_call(self._client.log_artifact, self.run_id, str(path), to or None)

    def _send_image(self, entry: Entry) -> None:
        """Send an image as the two files of MLflow's image grid, which a run of an older version has already."""
        if len(entry["files"]) > 1:
            for name in entry["files"]:
                self._send_file(name, IMAGE_GRID_FOLDER)
            return
        path = resolve_artifact_path(self.folder, entry["files"][0])
        with tempfile.TemporaryDirectory() as folder:
            names = name_image_files(entry["image"], entry["step"], entry["time"])
            for file in make_grid_files(path, Path(folder), names):
                self._try_call(self._client.log_artifact, self.run_id, str(file), IMAGE_GRID_FOLDER)

    def _send_dataset(self, dataset: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source, digest = json.dumps({"uri": dataset["source"]}), dataset["digest"][:MAX_DIGEST_LENGTH]
        used = Dataset(name=dataset["name"], digest=digest, source_type="local", source=source)
        context = InputTag("mlflow.data.context", dataset["context"])
        self._client.log_inputs(self.run_id, [DatasetInput(used, [context])])

    def _send_batch(self, kind: str, items: list[Any]) -> None:
        """Send all items or, if MLflow refuses the batch, all but those that it refuses."""
        if items and not self._try_call(self._client.log_batch, self.run_id, report=len(items) == 1, **{kind: items}):
            half = len(items) // 2
            for part in (items[:half], items[half:]) if half else ():
                self._send_batch(kind, part)

    def _try_call(self, call: Callable[..., Any], *args: Any, report: bool = True, **kwargs: Any) -> bool:
        """Call MLflow; return False if it refuses, so that what it will never accept does not hold up the rest."""
        from mlflow.exceptions import MlflowException

        try:
            call(*args, **kwargs)
        except MlflowException as error:
            if error.error_code == NOT_FOUND:
                self._client = None  # the database may be another one now, which `connect` finds out
            if not is_value_error(error):
                raise
            if self._client.get_run(self.run_id).info.lifecycle_stage != "active":
                raise UserError(
                    f"the run {self.run_id} was deleted there; restore it: python -m mlflow runs restore --run-id {self.run_id}"
                ) from None
            if report:
                print(f"\nMLflow refuses a part of {self.folder.name} ({describe_error(error)})", file=sys.stderr)
            return False
        return True


def has_unsent_entries(folder: Path, uri: str, runs: Path) -> bool:
    """Return whether the MLflow at `uri` lacks something of a run that may be sent.

    A copy has nothing of its own, nor has a run that was killed before its journal began.
    """
    upload = Upload(folder, uri, runs)
    if upload.is_complete or find_origin(folder):
        return False
    return upload.unsent_count > 0 or read_past(folder, OPENING).opening is not None


def send_run(folder: Path, uri: str, any_server: bool = False) -> Upload | None:
    """Send the rest of a run if it belongs to the MLflow at `uri`, or to any with `any_server`.

    None if it is running, or a copy: the run that it was copied from sends itself.
    """
    if find_origin(folder):
        return None
    lock = lock_run(folder)
    if lock is None:
        return None
    try:
        identity = read_identity(folder)
        upload = Upload(folder, uri, folder.parent)
        own_uri = identity and identity.uri and remove_credentials(resolve_address(identity, folder.parent))
        is_own_server = own_uri in (None, remove_credentials(uri))
        if is_own_server or any_server:
            upload.connect()
            upload.send_all()
        if is_own_server:
            if identity is not None and identity.run_id != upload.run_id:
                identity.run_id = upload.run_id
                write_identity(folder, identity)
            store_run_id(folder, upload.run_id)
        return upload
    finally:
        lock.release()


def _has_run(client: Any, run_id: str) -> bool:
    """Return whether MLflow knows a run."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != NOT_FOUND:
            raise
        return False
    return True


def _read_cursor(folder: Path, uri: str) -> dict[str, Any]:
    """Return the cursor of a run at this MLflow; an empty one if the run was sent to another, or to none.

    A local database that does not exist any more has nothing.
    """
    database = find_database(uri)
    if database and not database.exists():
        return {}
    try:
        cursor = json.loads(read_text(folder / CURSOR_FILE))
        numbers = (cursor.get("offset", 0), cursor.get("past", 0), cursor.get("settled", NO_CHECKPOINT) - NO_CHECKPOINT)
        is_valid = isinstance(cursor["run_id"], str | None) and all(isinstance(n, int) and n >= 0 for n in numbers)
        return cursor if is_valid and cursor["uri"] == remove_credentials(uri) else {}
    except (OSError, UserError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
