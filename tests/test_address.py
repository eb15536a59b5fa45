"""Addresses of MLflow: a database lies where its folder is, whatever its name, and no password is stored or shown."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient
from sender_thread import copy_database

from sr.lifecycle.provenance import collect_files
from sr.runtime.error import UserError
from sr.runtime.redact import is_masked, mask_passwords, mask_patch
from sr.track.address import (
    check_uri,
    default_uri,
    remove_credentials,
)
from sr.track.journal import Journal
from sr.track.mlflow import MLflow
from sr.track.server import connect
from sr.track.upload import Upload
from sr.training.resume import expand_overrides

ROOT = Path(__file__).resolve().parents[1]
SECRET = "TOPSECRET"
FOLDERS = ("p%20q", "what?", "a#b;c", "naïve 漢字 me@home", 'it\'s "so" & back\\slash')


@pytest.mark.slow(4)
@pytest.mark.parametrize("name", FOLDERS)
def test_the_database_lies_in_the_folder_of_runs_whatever_its_name(tmp_path: Path, name: str) -> None:
    """So do its artifacts; no other folder appears, and the tracker names the file that is there."""
    runs = tmp_path / name
    folder = runs / "run"
    folder.mkdir(parents=True)
    copy_database(runs / "mlflow.db")
    tracker = Journal(str(runs), "test")
    tracker.start("a run", folder, {}, [], {})
    tracker.log_text("note.txt", "text")
    tracker.close("FINISHED")
    uri = default_uri(runs)
    upload = Upload(folder, uri, runs)
    upload.send_all()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.read_text() for path in runs.glob("mlartifacts/*/artifacts/note.txt")] == ["text"]
    with sqlite3.connect(runs / "mlflow.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    assert MLflow(None, str(runs), "test").location == str(runs / "mlflow.db")
    (listed,) = MlflowClient(uri).list_artifacts(upload.run_id)
    assert Path(MlflowClient(uri).download_artifacts(upload.run_id, listed.path, str(tmp_path))).read_text() == "text"


@pytest.mark.long
def test_a_new_database_is_created_in_the_folder_of_runs_and_its_page_is_served(tmp_path: Path) -> None:
    """`make ui` shows it, too; nothing is written beside the folder."""
    name = "it's 50%20#?"
    runs = tmp_path / name
    connect(default_uri(runs), "test", runs)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = {**os.environ, "SR_RUNS": str(runs)}
    command = ["make", "-s", "--old-file=.venv/ready", "ui", f"ARGS=--port {port} --workers 1"]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=9")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert {one["name"] for one in json.loads(page)["experiments"]} == {"Default", "test"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def wait_for_page(address: str) -> bytes:
    for _ in range(1500):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as response:
            return response.read()
        time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


ADDRESSES = [
    f"http://me:{SECRET}@127.0.0.1:5999",
    f"http://{SECRET}@host/path",
    f"https://me:{SECRET}%40x@host:443/a?b=c@d",
    f"postgresql://me:{SECRET}@host/db?sslmode=require",
    f"postgresql+psycopg2://host/db?user=me&password={SECRET}&sslmode=require",
    f"https://host/mlflow?x=1&api_key={SECRET}",
    f"http://host?access_token={SECRET}",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3D{SECRET}",
]
HARMLESS = [
    "sqlite:////home/me@x/mlflow.db",
    "http://host:5000/a@b",
    "postgresql://host/db?sslmode=require",
    "https://host/x.zip?monkey=1&max_tokens=2",
    "data.path=/a/b@c:d",
    "me:word@host",
]


@pytest.mark.parametrize("uri", ADDRESSES)
def test_secrets_of_an_address_are_masked_and_removed(uri: str) -> None:
    check_uri(uri)
    for text in (
        uri,
        f"track.uri='{uri}'",
        f"API request to {uri}/api/2.0 failed",
        json.dumps({"a": [uri], "b": "x@y"}),
    ):
        assert SECRET not in mask_passwords(text)
        assert is_masked(mask_passwords(text))
        assert mask_passwords(mask_passwords(text)) == mask_passwords(text)
    assert json.loads(mask_passwords(json.dumps({"a": [uri], "b": "x@y"})))["b"] == "x@y"
    assert SECRET not in remove_credentials(uri)
    assert "…" not in remove_credentials(uri)
    assert "host" in remove_credentials(uri).replace("127.0.0.1", "host") or "mssql" in uri
    assert SECRET not in MLflow(uri, "runs", "test").location


def test_what_is_no_secret_stays() -> None:
    for text in HARMLESS:
        assert mask_passwords(text) == text
        assert not is_masked(text)
        assert remove_credentials(text) == text or "://" not in text


@pytest.mark.parametrize("password", ["a/b", "a@b", "a#b", "a?b", "a'b", "a b"])
@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_an_address_whose_password_ends_nowhere_is_refused_without_showing_it(scheme: str, password: str) -> None:
    with pytest.raises(UserError, match="percent-encoded") as info:
        check_uri(f"{scheme}://me:{SECRET}{password}@host")
    assert SECRET not in str(info.value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_URI": f"http://you:{SECRET}@other"}, None),
        ({"MLFLOW_TRACKING_URI": f"http://you:{SECRET}@host:5000/x"}, f"http://you:{SECRET}@host:5000/x"),
        ({"MLFLOW_TRACKING_USERNAME": "you", "MLFLOW_TRACKING_PASSWORD": "p"}, "http://host:5000/x"),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "http://host:5000/x"),
    ],
)
def test_a_run_whose_password_was_typed_is_resumed_with_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "overrides.yaml").write_text("- track.uri='http://me:…@host:5000/x'\n- seed=3\n", encoding="utf-8")
    (folder / "run.json").write_text('{"status": "KILLED"}')
    if expected is None:
        with pytest.raises(UserError, match=r"type track\.uri again, or set MLFLOW_TRACKING_USERNAME"):
            expand_overrides([f"resume={folder}"])
    else:
        assert expand_overrides([f"resume={folder}"])[:2] == [f'track.uri="{expected}"', "seed=3"]


def test_the_files_of_a_run_hold_no_password(tmp_path: Path) -> None:
    """Neither the journal, nor run.json, nor the provenance; a patch is changed nowhere else, so that it still applies."""
    uri = f"http://me:{SECRET}@host"
    words = [f"track.uri={uri}", f"data.url=https://host/x?token={SECRET}"]
    tracker = Journal(str(tmp_path), "test")
    tracker.start("a run", tmp_path, {"track": {"uri": uri}}, words, {"sr.x": f"failed at {uri}/api"})
    tracker.set_tag("sr.exit", f"ConnectionError: {uri}")
    tracker.close("FAILED", f"ConnectionError: {uri}")
    files = collect_files("run", {"track": {"uri": uri}}, {}, words, torch.device("cpu"))
    files.pop("changes.patch", None)  # of this checkout, if it differs from its commit
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert {"journal.jsonl", "run.json", "overrides.yaml"} <= {path.name for path in tmp_path.iterdir()}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text()] == []
    assert yaml.safe_load(files["overrides.yaml"]) == ["track.uri=http://me:…@host", "data.url=https://host/x?token=…"]
    other = "http://me:other@host"
    patch = f"--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-{uri}\n+{uri}/x\n+{other}\n".encode()
    assert mask_patch(patch, f"uri: {uri}").decode() == patch.decode().replace(f"+{uri}", "+http://me:…@host")
