"""From a run's journal into MLflow, in batches, and as often as it takes: sending anything again changes nothing.

`cursor.json` in the run's folder remembers up to which byte MLflow has all that may be sent. Points and images of
steps after the last checkpoint may not, yet: a run that is killed does them again, and its curves would have them twice.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sr.record.hyperparameters import sanitize_key
from sr.record.identity import FINISHED, RUNNING, lock_run, read_identity, write_atomic, write_identity
from sr.record.journal_format import CONTROL, JOURNAL_FILE, Entry, Placed, is_later, read_entries
from sr.runtime.error import UserError
from sr.track import artifact
from sr.track.server import connect, describe_error, plain

LINES = 200  # sent at a time
UNTOLD = -1  # no step is covered by a checkpoint yet, not even the untrained net's
METRICS, OTHERS = 1000, 100  # MLflow's limits of one call; others are params and tags
CURSOR = "cursor.json"
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # will be refused however often it is sent


class Upload:
    """One run's way into the MLflow at `uri`. `pump` raises whatever MLflow raises; what it did not take is sent again.

    `runs` has the lock of a fresh database and, of a local one, the artifacts. However long MLflow is out, what waits is
    in the journal, and not in memory.
    """

    def __init__(self, folder: Path, uri: str, runs: Path) -> None:
        self.folder, self.uri, self.runs = folder, uri, runs
        self.experiment_id: str | None = None
        self.sent = 0  # entries, ever
        self._client: Any = None
        known = _cursor(folder, uri)
        self.run_id: str | None = known.get("run_id")
        size = (folder / JOURNAL_FILE).stat().st_size if (folder / JOURNAL_FILE).exists() else 0
        if known.get("offset", 0) > size:  # a machine that crashed has lost what MLflow has
            known = {}
        self._at = known.get("offset", 0)  # before the first entry that is not sent, or may not be yet
        self._past = max(self._at, known.get("past", 0))  # up to here all is sent that may be
        self._settled = known.get("settled", UNTOLD)
        self._kept = ""  # the cursor, as it is on the disk
        self._read, self._ended, self._over = self._at, False, False
        self._backs: list[tuple[int, int]] = []  # where training went back, and to which step

    @property
    def left(self) -> int:
        """Points and images that MLflow has not got, with those that may not be sent yet."""
        entries = (placed.entry for placed in read_entries(self.folder / JOURNAL_FILE, self._at))
        return sum(len(entry.get("points", ())) + ("image" in entry) for entry in entries)

    @property
    def complete(self) -> bool:
        """Whether MLflow has all that may be sent."""
        self._look()
        return next(self._sendable(), None) is None

    def pump(self) -> None:
        """Send all that may be sent."""
        self._look()
        while window := list(itertools.islice(self._sendable(), LINES)):
            self.connect()
            self._send([placed.entry for placed in window])
            self.sent += len(window)
            self._past = window[-1].end
            self._forward()
            self._look()
        self._forward()

    def _look(self) -> None:
        """What the lines that were written since say of others."""
        for placed in read_entries(self.folder / JOURNAL_FILE, self._read, CONTROL):
            self._read, entry = placed.end, placed.entry
            if "settled" in entry:
                self._settled = max(self._settled, entry["settled"])
            elif "back" in entry:
                self._backs.append((placed.start, entry["back"]))
                self._settled, self._past = entry["back"], self._at
            else:
                self._ended = "status" in entry
                self._over = entry.get("status") == FINISHED  # then nothing is done again

    def _sendable(self) -> Iterator[Placed]:
        """What may be sent and was not: points and images of steps that a checkpoint covers, and all that is of no step.
        What waits for a checkpoint holds up what comes after it, unless the run has ended."""
        for placed in read_entries(self.folder / JOURNAL_FILE, self._past if self._ended else self._at):
            if self._superseded(placed) or placed.entry.keys() & {"settled", "back"}:
                continue
            if self._waits(placed.entry):
                if not self._ended:
                    return
            elif placed.start >= self._past:
                yield placed

    def _superseded(self, placed: Placed) -> bool:
        return any(at > placed.start and is_later(placed.entry, step) for at, step in self._backs)

    def _waits(self, entry: Entry) -> bool:
        return not self._over and is_later(entry, self._settled)

    def _forward(self) -> None:
        """The cursor goes to the first entry that waits."""
        at = self._at
        for placed in read_entries(self.folder / JOURNAL_FILE, self._at):
            if placed.start >= self._past or (not self._superseded(placed) and self._waits(placed.entry)):
                break
            at = placed.end
        self._at = at
        known = {"uri": plain(self.uri), "run_id": self.run_id, "offset": self._at, "past": self._past}
        text = json.dumps(known | {"settled": self._settled})
        if text != self._kept:
            write_atomic(self.folder / CURSOR, text)
            self._kept = text

    def connect(self) -> None:
        """Find the run in MLflow, or make it."""
        if self._client is not None:
            return
        read = read_entries(self.folder / JOURNAL_FILE)
        opened = next((placed.entry["open"] for placed in read if "open" in placed.entry), None)
        if opened is None:
            raise UserError(f"{self.folder}: there is no journal of a run")
        client, self.experiment_id = connect(self.uri, opened["experiment"], self.runs)
        if self.run_id is None:  # it may have been made, and the answer lost on its way
            own = f"tags.`sr.id` = '{opened['id']}'"
            found = client.search_runs([self.experiment_id], own, max_results=1)
            self.run_id = found[0].info.run_id if found else None
        if self.run_id is None:
            made = client.create_run(self.experiment_id, run_name=opened["title"], tags=opened["tags"])
            self.run_id = made.info.run_id
        self._client = client
        self._forward()

    def beat(self, time: str) -> None:
        """A sign of life."""
        if self._client is not None:
            self._client.set_tag(self.run_id, "sr.heartbeat", time)

    def _send(self, entries: list[Entry]) -> None:
        """A status is said last: only then does MLflow have all."""
        self._batches(entries)
        for entry in entries:
            for name in entry.get("files", ()):
                self._file(name, "images")
            if "file" in entry:
                self._file(entry["file"], entry["to"])
            if "dataset" in entry:
                self._refusable(self._dataset, entry["dataset"])
        for entry in entries:
            if "again" in entry:
                self._client.update_run(self.run_id, status=RUNNING)
            elif "status" in entry:
                self._client.set_terminated(self.run_id, entry["status"], entry["time"])

    def _batches(self, entries: list[Entry]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        opened = [entry["open"] for entry in entries if "open" in entry]
        dials = {sanitize_key(key): value for one in opened for key, value in one["params"].items()}
        tags = dict(_tags(entries))
        kinds = (
            ("metrics", [Metric(*point) for point in _points(entries)], METRICS),
            ("params", [Param(*item) for item in dials.items()], OTHERS),
            ("tags", [RunTag(*item) for item in tags.items()], OTHERS),
        )
        for kind, items, limit in kinds:
            for start in range(0, len(items), limit):
                self._batch(kind, items[start : start + limit])

    def _file(self, name: str, to: str) -> None:
        """Only what lies in the run's folder: a journal may be a stranger's."""
        path = artifact.safe(self.folder, name)
        if path.exists():
            self._refusable(self._client.log_artifact, self.run_id, str(path), to or None)

    def _dataset(self, known: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": known["source"]})
        one = Dataset(name=known["name"], digest=known["digest"][:36], source_type="local", source=source)
        self._client.log_inputs(self.run_id, [DatasetInput(one, [InputTag("mlflow.data.context", known["context"])])])

    def _batch(self, kind: str, items: list[Any]) -> None:
        """All of them, or each but those that MLflow refuses."""
        if items and not self._refusable(self._client.log_batch, self.run_id, tell=len(items) == 1, **{kind: items}):
            half = len(items) // 2
            for part in (items[:half], items[half:]) if half else ():
                self._batch(kind, part)

    def _refusable(self, call: Callable[..., Any], *words: Any, tell: bool = True, **named: Any) -> bool:
        """Whether MLflow took it: what it will never take must not keep the rest from it."""
        from mlflow.exceptions import MlflowException

        try:
            call(*words, **named)
        except MlflowException as error:
            if error.error_code not in REFUSED:
                raise
            if self._client.get_run(self.run_id).info.lifecycle_stage != "active":
                raise UserError(f"the run {self.run_id} was deleted there") from None
            if tell:
                print(f"\nMLflow refuses a part of {self.folder.name} ({describe_error(error)})", file=sys.stderr)
            return False
        return True


def send_run(folder: Path, uri: str, elsewhere: bool = False) -> Upload | None:
    """Send what is left of a run that is not running, where it belongs to the MLflow at `uri`, or `elsewhere` is meant; None
    where it is running."""
    lock = lock_run(folder)
    if lock is None:
        return None
    try:
        known = read_identity(folder)
        upload = Upload(folder, uri, folder.parent)
        own = known is None or known.uri in (None, plain(uri))
        if own or elsewhere:
            upload.pump()
        if own and known is not None and known.run_id is None:
            known.run_id = upload.run_id
            write_identity(folder, known)
        return upload
    finally:
        lock.release()


def _points(entries: list[Entry]) -> Iterator[tuple[str, float, int, int]]:
    for entry in entries:
        for name, value in entry.get("points", {}).items():
            if not isinstance(value, str):
                yield sanitize_key(name), value, entry["time"], entry["step"]


def _tags(entries: list[Entry]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if "tag" in entry:
            yield entry["tag"], entry["value"]
        if "image" in entry:
            yield "mlflow.loggedImages", "True"
        for name, value in entry.get("points", {}).items():
            if isinstance(value, str):  # MLflow would store 1.8e308, or nothing
                yield f"nonfinite.{sanitize_key(name)}", f"{value} at step {entry['step']}"


def _cursor(folder: Path, uri: str) -> dict[str, Any]:
    """What is known of this run at this MLflow; nothing, where it was sent to another one."""
    try:
        known = json.loads((folder / CURSOR).read_text(encoding="utf-8"))
        return known if known["uri"] == plain(uri) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
