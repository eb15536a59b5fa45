"""A real server with passwords: MLflow's basic-auth app on PostgreSQL. Nothing is lost, and no password is shown."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from mlflow import MlflowClient

from sr.benchmark.fault_proxy import FaultProxy
from sr.record.journal_format import list_points
from sr.track.local_server import LocalServer
from sr.track.mlflow import MLflow
from sr.track.mlflow_format import convert_metric_name
from sr.track.server import open_client
from sr.track.server_error import describe_error
from sr.track.sync import sync_runs

pytestmark = pytest.mark.long

SECRET = uuid.uuid4().hex  # part of all passwords, and not of this file, which may be in the patch of a run
USER, PASSWORD, DATABASE_PASSWORD = "admin", f"{SECRET}@1", f"{SECRET}-2"
WORDS = (
    "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.accelerator=cpu", "model.net.width=4",
    "model.net.depth=2", "track.panels=1", "track.experiment=run", "data=folder", "data.patch=32", "data.batch=2",
)  # fmt: skip


def find_program(name: str) -> str:
    """Return a program of PostgreSQL; Debian puts them where PATH does not find them."""
    installed = sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))
    path = shutil.which(name) or next(reversed(installed), None)
    if path is None:
        pytest.skip(f"needs PostgreSQL ({name}): apt-get install postgresql")
    return path


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database. PostgreSQL does not run as root, so that its user or `nobody` runs it."""
    for module, package in (("psycopg", "psycopg[binary]"), ("flask_wtf", "Flask-WTF")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {package}: pip install {package}")
    initdb, postgres = find_program("initdb"), find_program("postgres")
    names = {user.pw_name: user for user in pwd.getpwall()}
    owner = names.get("postgres") or names["nobody"] if os.getuid() == 0 else None
    identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    folder = Path(tempfile.mkdtemp(prefix="sr-postgres-"))
    (folder / "password").write_text(DATABASE_PASSWORD)
    for path in (folder, folder / "password") if owner else ():
        os.chown(path, owner.pw_uid, owner.pw_gid)
    options = [
        "-D",
        str(folder / "data"),
        "-U",
        "me",
        "--auth=scram-sha-256",
        f"--pwfile={folder}/password",
        "--no-sync",
    ]
    subprocess.run([initdb, *options], check=True, stdout=subprocess.DEVNULL, cwd="/", **identity)
    port = find_free_port()
    options = [f"-cport={port}", "-clisten_addresses=127.0.0.1", "-cunix_socket_directories=", "-cfsync=off"]
    log = (folder / "log").open("w")
    process = subprocess.Popen([postgres, "-D", str(folder / "data"), *options], stderr=log, cwd="/", **identity)
    wait_for_port(port)
    yield f"postgresql://me:{DATABASE_PASSWORD}@127.0.0.1:{port}/postgres"
    process.terminate()
    process.wait()
    log.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
        "auth_cache_ttl_seconds = 60\n"  # to check a password takes 0.1 s each time
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "any",
    }  # fmt: skip
    with LocalServer(database, ("--app-name", "basic-auth"), variables) as server:
        yield server


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


def log_in(monkeypatch: pytest.MonkeyPatch, password: str = PASSWORD) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def track(uri: str, runs: Path, experiment: str) -> Path:
    """Track a run of ten steps; return its folder."""
    folder = runs / f"20260101-000000_{experiment}"
    folder.mkdir(parents=True)
    tracker = MLflow(uri, str(runs), experiment)
    tracker.start(experiment, folder, {}, [f"track.uri={uri}"], {})
    for step in range(10):
        tracker.log_points({"train/loss": 1 / (step + 1), "val/x y/psnr": 30.0 + step}, step)
    tracker.close("FINISHED")
    return folder


def check(uri: str, folder: Path) -> None:
    """Check that MLflow has each point of a run's journal once, and its status."""
    client = MlflowClient(uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`sr.folder` = '{folder}'")
    ours: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in list_points(folder):
        ours.setdefault(convert_metric_name(name), []).append((step, value))
    assert ours
    theirs = {n: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, n)] for n in run.data.metrics}
    assert theirs == ours
    assert run.info.status == "FINISHED"


def check_no_secret(runs: Path, *said: str) -> None:
    """Check that no file, no message and no command line has a password."""
    assert [str(path) for path in runs.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in "".join(said)


def test_a_run_whose_address_has_the_password(
    server: LocalServer, world: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """It is typed, and so the command line of the run itself has it, but none of a process that it starts."""
    uri = server.uri.replace("://", f"://{USER}:{quote(PASSWORD)}@")
    words = [*WORDS, f"data.path={world}/photos", f"track.uri={uri}", f"paths.runs={tmp_path}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "sr.run", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    commands: set[str] = set()
    own = " ".join(psutil.Process(run.pid).cmdline())
    while run.poll() is None:
        for process in psutil.Process(run.pid).children(recursive=True) if psutil.pid_exists(run.pid) else ():
            try:
                commands.add(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        time.sleep(0.1)
    said = run.communicate()[0]
    assert run.returncode == 0, said
    commands.discard(own)  # a child shows its parent's command line between fork and exec
    assert any("sr.track.sender" in command for command in commands)
    check_no_secret(tmp_path, said, *commands)
    log_in(monkeypatch)
    check(server.uri, next(tmp_path.glob("*/run.json")).parent)


def test_a_wrong_password_is_said_at_once_and_sync_sends_with_the_right_one(
    server: LocalServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    log_in(monkeypatch, f"{SECRET}-wrong")
    monkeypatch.setattr("sr.track.mlflow.PAGE_TIMEOUT", 3600.0)  # it would wait so long if nobody answered
    folder = track(server.uri, tmp_path, "wrong")
    said = capfd.readouterr()
    assert "it does not accept the user and password" in said.err
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said.err
    assert "does not answer" not in said.err
    assert not sync_runs([str(folder)], str(tmp_path))
    again = capfd.readouterr()
    assert "it does not accept the user and password" in again.err
    log_in(monkeypatch)
    for _ in range(2):  # the second changes nothing
        assert sync_runs([str(folder)], str(tmp_path))
        check(server.uri, folder)
    check_no_secret(tmp_path, *said, *again, *capfd.readouterr())
    with pytest.raises(Exception, match="password authentication failed") as info:
        open_client(database.replace(DATABASE_PASSWORD, f"{SECRET}-wrong"))
    assert "set MLFLOW_TRACKING_URI to its address with user and password" in describe_error(info.value)
    assert SECRET not in describe_error(info.value)


def test_an_outage_and_a_deleted_experiment_lose_nothing(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    log_in(monkeypatch)
    client = MlflowClient(server.uri)
    client.delete_experiment(client.create_experiment("deleted"))
    deleted = track(server.uri, tmp_path, "deleted")
    said = capfd.readouterr()
    assert "the experiment 'deleted' was deleted there" in said.err
    client.restore_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with FaultProxy(server.port) as proxy:  # the server itself is killed in test_outage.py
        proxy.set_mode("closed")
        missed = track(proxy.uri, tmp_path, "outage")
        more = capfd.readouterr()
        assert "does not answer (Connection refused)" in more.err
        assert not sync_runs([str(missed)], str(tmp_path))
        proxy.set_mode("open")
        assert sync_runs([], str(tmp_path))
    for folder in (deleted, missed):
        check(server.uri, folder)
    check_no_secret(tmp_path, *said, *more, *capfd.readouterr())


def test_eight_runs_at_once(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch)
    program = f"""
import os
from pathlib import Path
from test_auth_server import track
for _ in range(3):  # 8 processes, each with everything imported already
    os.fork()
track({server.uri!r}, Path({str(tmp_path)!r}) / str(os.getpid()), "eight")
try:
    while True:
        assert os.wait()[1] == 0
except ChildProcessError:
    pass  # no child is left
"""
    paths = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    folders = [path.parent for path in tmp_path.glob("*/*/run.json")]
    assert len(folders) == 8
    for folder in folders:
        assert sync_runs([str(folder)], str(folder.parent))  # where the server was not quick enough
        check(server.uri, folder)
    check_no_secret(tmp_path, done.stdout, done.stderr)
