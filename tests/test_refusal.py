"""What MLflow refuses is said at once, with what to do; training goes on, and `sr.sync` says the same."""

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from sender_thread import copy_database

from sr.record.identity import read_identity
from sr.track.journal import Journal
from sr.track.mlflow import MLflow
from sr.track.sender import Sender
from sr.track.server import connect
from sr.track.server_error import describe_error, is_refusal, is_value_error
from sr.track.sync import sync_runs
from sr.track.upload import Upload


def record_run(runs: Path, name: str = "run", points: int = 3) -> Path:
    """Write the folder of a finished run that nothing was sent of."""
    folder = runs / name
    folder.mkdir(parents=True)
    tracker = Journal(str(runs), "test")
    tracker.start("a run", folder, {}, [], {})
    for step in range(points):
        tracker.log_points({"train/loss": float(step)}, step)
    tracker.close("FINISHED")
    return folder


def delete_experiment(database: Path) -> None:
    client, experiment_id = connect(f"sqlite:///{database}", "test", database.parent)
    client.delete_experiment(experiment_id)


def drop_table(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE experiments")


def set_revision(database: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


READ_ONLY = "cannot be written to"
BROKEN = [
    (delete_experiment, "was deleted there", "mlflow experiments restore --experiment-id 1"),
    (drop_table, "a table of the database is missing", "restore the database from a copy"),
    (lambda database: None, READ_ONLY, "choose another track.uri"),  # see READ_ONLY
    (
        lambda database: set_revision(database, "ffffffffffff"),
        "another version of MLflow",
        "pip install --upgrade mlflow",
    ),
    (
        lambda database: database.write_bytes(b"no database" * 100),
        "not a database",
        "choose another one with track.uri",
    ),
    (lambda database: (database.unlink(), database.mkdir()), "cannot be opened", "create its folder"),
]


@pytest.mark.usefixtures("sender_thread")
@pytest.mark.parametrize(("damage", "problem", "advice"), BROKEN)
def test_a_database_that_refuses_is_reported_at_once_with_what_to_do(
    tmp_path: Path,
    capfd: Any,
    damage: Callable[[Path], Any],
    problem: str,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run goes on with its journal, and sr.sync repeats the advice, with an exit code that is not 0."""
    copy_database(tmp_path / "mlflow.db")
    damage(tmp_path / "mlflow.db")
    folder = tmp_path / "run"
    folder.mkdir()
    read_only = f"sqlite+pysqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true"
    tracker = MLflow(read_only if problem == READ_ONLY else None, str(tmp_path), "test")
    monkeypatch.setattr("sr.track.mlflow.PAGE_TIMEOUT", 3600.0)  # it would wait so long if nobody answered
    tracker.start("a run", folder, {}, [], {})
    tracker.log_points({"train/loss": 1.0}, 1)
    tracker.close("FINISHED")
    said = capfd.readouterr().err
    assert said.count("MLflow at") == 1
    assert problem in said
    assert advice in said
    assert "does not answer" not in said
    assert "Traceback" not in said
    assert re.search(rf"\n1 points and images wait for MLflow: \S*python -m sr\.sync {folder}\n", said)
    assert read_identity(folder).status == "FINISHED"
    assert not sync_runs([str(folder)], str(tmp_path))
    said = capfd.readouterr().err
    assert problem in said
    assert advice in said


def test_an_experiment_that_is_restored_gets_the_run(tmp_path: Path) -> None:
    copy_database(tmp_path / "mlflow.db")
    delete_experiment(tmp_path / "mlflow.db")
    folder = record_run(tmp_path)
    assert not sync_runs([], str(tmp_path))
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").restore_experiment("1")
    assert sync_runs([], str(tmp_path))
    assert Upload(folder, f"sqlite:///{tmp_path}/mlflow.db", tmp_path).unsent_count == 0


AUTOFLUSH = (
    "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if this flush is "
    "occurring prematurely)\n(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT INTO metrics …]"
)
ERRORS = [  # error, whether it stays, what is said
    (
        RestException({"error_code": "UNAUTHENTICATED", "message": "You are not authenticated"}),
        True,
        "MLFLOW_TRACKING_USERNAME",
    ),
    (
        MlflowException("API request failed with error code 401 != 200. Response body: ''", 9),
        True,
        "MLFLOW_TRACKING_PASSWORD",
    ),
    (
        RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"}),
        True,
        "ask for the permission EDIT",
    ),
    (MlflowException("… error code 403 != 200. Response body: 'Invalid Host header'", 9), True, "--allowed-hosts"),
    (ModuleNotFoundError("No module named 'psycopg'"), True, "pip install 'psycopg[binary]'"),
    (OSError('FATAL:  password authentication failed for user "me"'), True, "MLFLOW_TRACKING_URI"),
    (MlflowException("response body was not in a valid JSON format"), True, "something else than MLflow"),
    (
        MlflowException("… failed with exception SSLError(CERTIFICATE_VERIFY_FAILED)"),
        True,
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    (RestException({"error_code": "BAD_REQUEST", "message": f"{AUTOFLUSH}"}), False, "database or disk is full"),
    (MlflowException(AUTOFLUSH), False, "database or disk is full"),
    (ConnectionError("[Errno 111] Connection refused"), False, "Connection refused"),
    (
        MlflowException("API request to http://me:TOPSECRET@host/api/2.0 failed with exception x" + "y" * 999),
        False,
        "me:…@host",
    ),
    (MlflowException("x" * 136 + "://me:TOPSECRET@host/api/2.0"), False, "://me:…@host"),
]


@pytest.mark.parametrize(("error", "stays", "said"), ERRORS)
def test_a_refusal_is_told_from_an_outage(error: Exception, stays: bool, said: str) -> None:
    words = describe_error(error)
    assert is_refusal(error) == stays
    assert said in words
    assert "\n" not in words
    assert "TOPSECR" not in words
    assert "autoflush" not in words
    assert not is_value_error(error)


@pytest.mark.parametrize(
    ("code", "text", "is_of_value"),
    [
        ("INVALID_PARAMETER_VALUE", "Invalid value NaN for parameter", True),
        ("BAD_REQUEST", "(psycopg2.errors.NumericValueOutOfRange) integer out of range\n[SQL: …]", True),
        ("BAD_REQUEST", '(psycopg2.errors.UndefinedTable) relation "metrics" does not exist\n[SQL: …]', False),
        ("BAD_REQUEST", "(sqlite3.IntegrityError) FOREIGN KEY constraint failed\n[SQL: …]", False),
        ("INTERNAL_ERROR", "anything", False),
    ],
)
def test_only_a_value_that_mlflow_never_accepts_is_left_out(code: str, text: str, is_of_value: bool) -> None:
    assert is_value_error(RestException({"error_code": code, "message": text})) == is_of_value


def test_a_refusal_after_an_outage_is_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = record_run(tmp_path)
    messages: list[dict[str, Any]] = []
    sender = Sender(Upload(folder, "http://host", tmp_path), lambda **words: messages.append(words))
    errors = iter(
        [ConnectionError("down")] * 2 + [RestException({"error_code": "UNAUTHENTICATED", "message": "no"})] * 2
    )

    def fail() -> None:
        raise next(errors)

    monkeypatch.setattr(sender.upload, "connect", fail)
    assert [sender.attempt() for _ in range(4)] == [False] * 4
    assert [next(iter(message)) for message in messages] == ["failed", "refused"]


@pytest.mark.parametrize("is_new_there", [False, True])
def test_a_database_that_was_deleted_gets_everything_anew(tmp_path: Path, capfd: Any, is_new_there: bool) -> None:
    """Also after another run has made a new one at the same place."""
    database, uri = tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"
    folder = record_run(tmp_path)
    copy_database(database)
    assert sync_runs([], str(tmp_path))
    old = Upload(folder, uri, tmp_path)
    assert (old.unsent_count, old.is_complete) == (0, True)
    forget_engines()
    database.unlink()
    copy_database(database)
    if is_new_there:
        os.utime(folder / "cursor.json", (time.time() - 60,) * 2)  # sent a minute before
        connect(uri, "test", tmp_path)
    else:
        database.unlink()
        assert Upload(folder, uri, tmp_path).unsent_count == 3
        copy_database(database)
    assert sync_runs([], str(tmp_path))
    new = Upload(folder, uri, tmp_path)
    assert new.run_id != old.run_id
    assert [p.step for p in MlflowClient(uri).get_metric_history(new.run_id, "train/loss")] == [0, 1, 2]
    assert MlflowClient(uri).get_run(new.run_id).info.status == "FINISHED"
    capfd.readouterr()
    assert sync_runs([], str(tmp_path))
    assert "MLflow has all of its runs" in capfd.readouterr().out


def forget_engines() -> None:
    """Close MLflow's connections to databases, which another process would not have."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()
    SqlAlchemyStore._engine_map.clear()
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()


def test_a_run_that_its_server_lost_while_it_ran_is_created_again(tmp_path: Path) -> None:
    """As when the server's database was replaced: from the next attempt on everything is sent to the new one."""
    folder = record_run(tmp_path)
    copy_database(tmp_path / "mlflow.db")
    messages: list[dict[str, Any]] = []
    upload = Upload(folder, f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    upload.connect()
    first, sender = upload.run_id, Sender(upload, lambda **words: messages.append(words))
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("DELETE FROM tags")
        connection.execute("DELETE FROM runs")
        connection.commit()
    assert not sender.attempt()
    assert sender.attempt()
    assert upload.run_id != first
    assert upload.unsent_count == 0
    assert messages[-1] == {"known": [upload.run_id, upload.experiment_id]}


def test_a_note_names_the_variables_of_mlflow_that_are_not_used(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, sender_thread: None
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    copy_database(tmp_path / "mlflow.db")
    (tmp_path / "run").mkdir()
    tracker = MLflow(None, str(tmp_path), "test")
    tracker.start("a run", tmp_path / "run", {}, [], {})
    tracker.close("FINISHED")
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: MLFLOW_")]
    assert sorted(note.partition(" is not used: ")[0] for note in notes) == [
        "note: MLFLOW_EXPERIMENT_ID",
        "note: MLFLOW_RUN_ID",
    ]
    assert any("track.experiment=NAME" in note for note in notes)


def test_the_variables_of_mlflow_choose_server_and_experiment_unless_they_are_typed(
    compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compose("track=journal")["track"]["experiment"] == "sr"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the environment")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    chosen = compose()["track"]
    assert (chosen["experiment"], chosen["uri"]) == ("from the environment", "http://host:1")
    chosen = compose("track.experiment=mine", "track.uri='http://host:2'")["track"]
    assert (chosen["experiment"], chosen["uri"]) == ("mine", "http://host:2")
