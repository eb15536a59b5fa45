"""Points that are inserted into MLflow's database: the rows are those of MLflow's own client."""

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sr.record.journal_format import JOURNAL_FILE, append_entries
from sr.track import metric_rows
from sr.track.address import default_uri, find_database
from sr.track.metric_rows import Point, insert_points
from sr.track.server import connect
from sr.track.upload import Upload


class Database:
    """A database of MLflow's with some runs."""

    def __init__(self, folder: Path) -> None:
        self.client, self.experiment = connect(default_uri(folder), "sr", folder)
        self.path = find_database(default_uri(folder))

    def create_run(self, points: list[Point] = ()) -> str:
        """Create a run, to which MLflow's client logs the points, each alone."""
        run_id = self.client.create_run(self.experiment).info.run_id
        for point in points:
            self.client.log_batch(run_id, metrics=[Metric(*point)])
        return run_id

    def query(self, command: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(command).fetchall()

    def read_rows(self, run_id: str) -> list[list[tuple]]:
        """Return the rows of a run in both tables, with the types of their values."""
        columns = "key, value, typeof(value), timestamp, step, is_nan"
        where = f"WHERE run_uuid = '{run_id}' ORDER BY key, step, timestamp, value"
        return [self.query(f"SELECT {columns} FROM {table} {where}") for table in metric_rows.TABLES]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    folder = tmp_path / "a %b #?"  # of a name with a meaning in an address
    folder.mkdir()
    return Database(folder)


NAMES = [("loss", 0.0, 1, 0), ("val/Set5 x2/psnr", 0.0, 1, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_the_rows_are_those_of_the_client(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    values = (0.0, -0.0, 7, -1e-300, 1.7e308, 1 / 3)
    points = [
        (rng.choice(NAMES)[0], rng.choice(values), rng.randint(1, 3), rng.randint(0, 4))
        for _ in range(rng.randint(1, 60))
    ]  # points that occur twice, and steps that go back
    one, other = database.create_run(NAMES), database.create_run([*NAMES, *points])
    assert insert_points(database.path, one, points) == []
    assert database.read_rows(one) == database.read_rows(other)
    assert insert_points(database.path, one, points[::-1]) == []
    assert database.read_rows(one) == database.read_rows(other)


def test_what_only_the_client_can_send_is_returned(database: Database, tmp_path: Path) -> None:
    run_id = database.create_run(NAMES)
    rows = database.read_rows(run_id)
    known, new = ("loss", 2.0, 2, 2), ("../x", 1.0, 2, 2)
    for bad in (("loss", 2.0, 2, 2**64), ("loss", [2.0], 2, 2), ("loss", None, 2, 2)):
        assert insert_points(database.path, run_id, [known, bad]) == [known, bad]
    assert insert_points(database.path, "0" * 32, [known]) == [known]
    assert insert_points(tmp_path / "missing.db", run_id, [known]) == [known]
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "text.db").write_text("no database")
    assert insert_points(tmp_path / "text.db", run_id, [known]) == [known]
    database.client.delete_run(run_id)
    assert insert_points(database.path, run_id, [known]) == [known]
    database.client.restore_run(run_id)
    assert database.read_rows(run_id) == rows
    twice = Path(f"/{database.path}")  # `//tmp/…`
    assert insert_points(twice, run_id, [known, new]) == [new]
    database.query("ALTER TABLE metrics ADD COLUMN unit VARCHAR")  # a future version of MLflow
    assert insert_points(database.path, run_id, [known]) == [known]


def test_the_client_sends_one_point_of_each_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that it refuses is lost as without the insertion; another process sends the rest later."""
    sent: list[Metric] = []
    log_batch = MlflowClient.log_batch

    def log(client: MlflowClient, run_id: str, **items: list) -> None:
        log_batch(client, run_id, **items)
        sent.extend(items.get("metrics", ()))  # a batch that is refused is not sent

    monkeypatch.setattr(MlflowClient, "log_batch", log)
    folder = tmp_path / "run"
    folder.mkdir()
    journal = folder / JOURNAL_FILE
    journal.touch()
    opening = {"id": "a", "title": "a run", "experiment": "sr", "tags": {}, "params": {}}
    steps = [{"points": {"loss": 1 / k, "../x": 1.0}, "step": k, "time": 1000 + k} for k in range(1, 6)]
    append_entries(journal, [{"open": opening, "time": 1}, *steps[:3], {"settled": 3}])
    upload = Upload(folder, default_uri(tmp_path), tmp_path)
    upload.send_all()
    assert [metric.step for metric in sent if metric.key == "loss"] == [3]
    append_entries(journal, [*steps[3:], {"settled": 5}])
    upload.send_all()
    assert [metric.step for metric in sent if metric.key == "loss"] == [3]
    history = MlflowClient(default_uri(tmp_path)).get_metric_history(upload.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(k, 1 / k) for k in range(1, 6)]
