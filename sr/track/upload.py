"""From a run's journal into MLflow, in batches, and as often as it takes: sending anything again changes nothing.

`cursor.json` in the run's folder remembers up to which byte MLflow has all that may be sent. Points and images of
steps after the last checkpoint may not, yet: a run that is killed does them again, and its curves would have them twice.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from sr.error import UserError
from sr.track import identity, lines, params

LINES = 200  # sent at a time
METRICS, OTHERS = 1000, 100  # MLflow's limits of one call; others are params and tags
CURSOR = "cursor.json"
VARIABLES = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; its own, with its retries, hang for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the run says itself where it is
}
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # will be refused however often it is sent


class Upload:
    """One run's way into the MLflow at `uri`. `pump` raises whatever MLflow raises; what it did not take is sent again.

    `runs` has the lock of a fresh database and, of a local one, the artifacts.
    """

    def __init__(self, folder: Path, uri: str, runs: Path) -> None:
        self.folder, self.uri, self.runs = folder, uri, runs
        self.experiment_id: str | None = None
        self.sent = 0  # entries, ever
        self._client: Any = None
        known = _cursor(folder, uri)
        self.run_id: str | None = known.get("run_id")
        self._read, self._settled = known.get("offset", 0), known.get("settled", 0)
        self._over = False
        self._waiting: list[lines.Placed] = []

    @property
    def left(self) -> int:
        """Points and images that MLflow has not got, with those that may not be sent yet."""
        return sum(len(entry.get("points", ())) + ("image" in entry) for _, entry in self._waiting)

    @property
    def complete(self) -> bool:
        """Whether MLflow has all that may be sent."""
        self._take_in()
        return not any(self._may(placed.entry) for placed in self._waiting)

    def pump(self) -> None:
        """Send all that may be sent."""
        if self.complete:
            return
        self.connect()
        while now := [placed for placed in self._waiting if self._may(placed.entry)][:LINES]:
            self._send([placed.entry for placed in now])
            done = {placed.end for placed in now}
            self._waiting = [placed for placed in self._waiting if placed.end not in done]
            self.sent += len(now)
            self._remember()

    def connect(self) -> None:
        """Find the run in MLflow, or make it."""
        if self._client is not None:
            return
        opened = next((entry["open"] for _, entry in lines.read(self.folder / lines.NAME) if "open" in entry), None)
        if opened is None:
            raise UserError(f"{self.folder}: there is no journal of a run")
        client, self.experiment_id = connected(self.uri, opened["experiment"], self.runs)
        if self.run_id is None:  # it may have been made, and the answer lost on its way
            own = f"tags.`sr.id` = '{opened['id']}'"
            found = client.search_runs([self.experiment_id], own, max_results=1)
            self.run_id = found[0].info.run_id if found else None
        if self.run_id is None:
            made = client.create_run(self.experiment_id, run_name=opened["title"], tags=opened["tags"])
            self.run_id = made.info.run_id
        self._client = client
        self._remember()

    def beat(self, time: str) -> None:
        """A sign of life."""
        if self._client is not None:
            self._client.set_tag(self.run_id, "sr.heartbeat", time)

    def _take_in(self) -> None:
        for placed in lines.read(self.folder / lines.NAME, self._read):
            self._read, entry = placed.end, placed.entry
            if "settled" in entry:
                self._settled = max(self._settled, entry["settled"])
            elif "back" in entry:
                self._settled = entry["back"]
                self._waiting = [kept for kept in self._waiting if not lines.later(kept.entry, self._settled)]
            self._over = "again" not in entry and (self._over or entry.get("status") == identity.FINISHED)
            self._waiting.append(placed)

    def _may(self, entry: lines.Entry) -> bool:
        return self._over or not lines.later(entry, self._settled)

    def _remember(self) -> None:
        """The cursor stands before the first entry that is still to be sent; what follows it may be sent twice."""
        first = self._waiting[0] if self._waiting else None
        offset = first.end - len(lines.encode(first.entry)) if first else self._read
        known = {"uri": plain(self.uri), "run_id": self.run_id, "offset": offset, "settled": self._settled}
        identity.replace(self.folder / CURSOR, json.dumps(known))

    def _send(self, entries: list[lines.Entry]) -> None:
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
                self._client.update_run(self.run_id, status=identity.RUNNING)
            elif "status" in entry:
                self._client.set_terminated(self.run_id, entry["status"], entry["time"])

    def _batches(self, entries: list[lines.Entry]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        opened = [entry["open"] for entry in entries if "open" in entry]
        dials = {params.key(key): value for one in opened for key, value in one["params"].items()}
        tags = dict(_tags(entries))
        kinds = (
            ("metrics", [Metric(*point) for point in _points(entries)], METRICS),
            ("params", [Param(*item) for item in dials.items()], OTHERS),
            ("tags", [RunTag(*item) for item in tags.items()], OTHERS),
        )
        for kind, items, limit in kinds:
            for start in range(0, len(items), limit):
                self._refusable(self._client.log_batch, self.run_id, **{kind: items[start : start + limit]})

    def _file(self, name: str, to: str) -> None:
        path = self.folder / name
        if path.exists():
            self._refusable(self._client.log_artifact, self.run_id, str(path), to or None)

    def _dataset(self, known: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": known["source"]})
        one = Dataset(name=known["name"], digest=known["digest"][:36], source_type="local", source=source)
        self._client.log_inputs(self.run_id, [DatasetInput(one, [InputTag("mlflow.data.context", known["context"])])])

    def _refusable(self, call: Callable[..., Any], *words: Any, **named: Any) -> None:
        """What MLflow will never take must not keep the rest from it."""
        from mlflow.exceptions import MlflowException

        try:
            call(*words, **named)
        except MlflowException as error:
            if error.error_code not in REFUSED:
                raise
            print(f"\nMLflow refuses a part of {self.folder.name} ({reason(error)})", file=sys.stderr)


def connected(uri: str, experiment: str, runs: Path) -> tuple[Any, str]:
    """A client, and the id of the experiment, which is made where it is not there."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for noisy in ("mlflow", "alembic"):  # after the import, which sets them itself
        logging.getLogger(noisy).setLevel(logging.WARNING)
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / ".mlflow.lock"):  # a fresh database's migrations bear one process only
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        try:
            place = (runs / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            made = client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # another machine was faster
            return client, client.get_experiment_by_name(experiment).experiment_id
        client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
        return client, made


def address(known: identity.Identity | None, runs: Path) -> str:
    """Where a run belongs: where it began, or the database beside it."""
    return known.uri if known and known.uri else f"sqlite:///{runs / 'mlflow.db'}"


def reason(error: Exception) -> str:
    """What is wrong, in few words, of an error whose text may be pages long."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(\d{3} error)", text)
    return next(filter(None, found.groups())) if found else (text.splitlines() or [type(error).__name__])[0][:150]


def _points(entries: list[lines.Entry]) -> Iterator[tuple[str, float, int, int]]:
    for entry in entries:
        for name, value in entry.get("points", {}).items():
            if not isinstance(value, str):
                yield params.key(name), value, entry["time"], entry["step"]


def _tags(entries: list[lines.Entry]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if "tag" in entry:
            yield entry["tag"], entry["value"]
        if "image" in entry:
            yield "mlflow.loggedImages", "True"
        for name, value in entry.get("points", {}).items():
            if isinstance(value, str):  # MLflow would store 1.8e308, or nothing
                yield f"nonfinite.{params.key(name)}", f"{value} at step {entry['step']}"


def _cursor(folder: Path, uri: str) -> dict[str, Any]:
    """What is known of this run at this MLflow; nothing, where it was sent to another one."""
    try:
        known = json.loads((folder / CURSOR).read_text(encoding="utf-8"))
        return known if known["uri"] == plain(uri) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def plain(uri: str) -> str:
    """Without a password: it is written down."""
    scheme, slashes, rest = uri.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"
