"""The provenance of a run: its source code to the last byte, whatever the working tree looks like, and its machine."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sr.lifecycle.provenance import choose_path, collect_files, list_packages
from sr.record import git as code
from sr.record import machine


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of two commits' worth of files, clean."""
    folder = tmp_path / "tree"
    (folder / "sr").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "sr" / "net.py").write_text("width = 1\n")
    (folder / "deleted.py").write_text("old = True\n")
    (folder / "latin.txt").write_bytes("Grüße\n".encode("latin-1"))
    (folder / "table.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def content(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Bytes, and whether it may be run, of each file that git does not ignore."""
    names = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    files = {name: folder / name for name in names if name and os.path.lexists(folder / name)}
    return {
        name: (str(path.readlink()).encode() if path.is_symlink() else path.read_bytes(), os.access(path, os.X_OK))
        for name, path in files.items()
    }


def change_files(folder: Path) -> None:
    """Make changes of every kind; some are staged, and one of these is changed again."""
    (folder / "sr" / "net.py").write_text("width = 2\n")
    git(folder, "add", "sr/net.py")
    (folder / "sr" / "net.py").write_text("width = 3\n")
    (folder / "sr" / "net.py").chmod(0o755)
    (folder / "deleted.py").unlink()
    (folder / "latin.txt").write_bytes("schöne Grüße".encode("latin-1"))
    (folder / "table.bin").write_bytes(bytes(range(255, -1, -1)))
    (folder / "new").mkdir()
    (folder / "new" / "a b ü.py").write_text("new = True\n")
    (folder / "new" / "weights.bin").write_bytes(os.urandom(5000))
    (folder / "new" / "empty.py").touch()
    (folder / "new" / "link").symlink_to("empty.py")


def test_the_patch_turns_the_commit_into_the_working_tree(tree: Path, tmp_path: Path) -> None:
    """The user's settings for how git shows differences do not matter."""
    change_files(tree)
    for key, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "false"),
                       ("core.quotePath", "true"), ("diff.mnemonicPrefix", "true")):  # fmt: skip
        git(tree, "config", key, value)
    (tmp_path / "changes.patch").write_bytes(code.read_changes(tree).patch)
    git(tree, "worktree", "add", "-q", "--detach", str(tmp_path / "other"), "HEAD")
    git(tmp_path / "other", "apply", str(tmp_path / "changes.patch"))
    assert content(tmp_path / "other") == content(tree)


def test_the_users_repository_is_not_changed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_files(tree)
    os.utime(tree / "latin.txt")  # git would like to note that it looked at it
    monkeypatch.setenv("GIT_INDEX_FILE", str(tree / "other-index"))  # as in a hook

    def inside() -> dict[str, str]:
        files = sorted(path for path in (tree / ".git").rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = inside()
    code.read_changes(tree)
    assert code.read_state(tree)["dirty"] == "true"
    assert inside() == before
    assert not (tree / "other-index").exists()


def test_large_files_and_folders_of_results_are_not_in_the_patch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "MAX_PATCH_BYTES", 2500)
    for name in (".env", "deploy.key", "credentials.json"):
        (tree / name).write_text("password")
    for name, size in (
        ("large.bin", code.MAX_FILE_BYTES + 1),
        ("one", 1000),
        ("two", 1001),
        ("three", 1002),
        ("a.log", 1),
    ):
        (tree / name).write_bytes(os.urandom(size))
    (tree / "runs").mkdir()
    (tree / "runs" / "summary.json").touch()
    git(tree, "init", "-q", "inner")
    (tree / "inner" / "file").touch()
    found = code.read_changes(tree, [tree / "runs", tree.parent])
    secrets = {".env", "deploy.key", "credentials.json"}
    assert set(found.omitted) == {"large.bin", "three", "inner/"} | secrets
    assert b"password" not in found.patch
    assert set(re.findall(rb"^diff --git a/(\S+)", found.patch, re.MULTILINE)) == {b"one", b"two"}


def test_a_clean_tree_has_no_patch_and_no_repository_no_commit(tree: Path, tmp_path: Path) -> None:
    assert code.read_changes(tree) == code.Changes()
    state = code.read_state(tree)
    assert (state["sha"], state["branch"], state["dirty"]) == (git(tree, "rev-parse", "HEAD").strip(), "main", "false")
    assert code.read_state(tmp_path) == code.read_state(None) == {}
    assert code.read_changes(tmp_path) == code.Changes(is_complete=False)


def test_a_repository_without_a_commit_is_no_error(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").touch()
    assert code.read_state(tmp_path) == {}
    assert code.read_changes(tmp_path).patch == b""


def test_the_files_say_what_ran_and_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SR_DATA", "/my sets")
    config, typed = {"seed": 3, "paths": {"data": "/my sets", "runs": "runs"}}, ["data.test=[Set5]", "note=a b"]
    chosen = {"model": "cnn", "experiment": None}
    found = collect_files("run", config, chosen, typed, torch.device("cpu"))
    assert set(found) - {"changes.patch", "environment.yaml", "packages.txt"} == {
        "config.yaml", "overrides.yaml", "choices.yaml"
    }  # fmt: skip
    assert yaml.safe_load(found["config.yaml"]) == config
    assert yaml.safe_load(found["overrides.yaml"]) == typed
    assert yaml.safe_load(found["choices.yaml"]) == {"model": "cnn"}
    assert f"torch=={torch.__version__}" in found["packages.txt"].decode().splitlines()
    environment = yaml.safe_load(found["environment.yaml"])
    assert environment["command"] == "SR_DATA='/my sets' python -m sr.run 'data.test=[Set5]' 'note=a b'"
    assert environment["seed"] == 3
    assert environment["machine"]["cpus"] == os.cpu_count()
    assert environment["flags"]["threads"] == torch.get_num_threads()
    assert environment["gflops"] > 0


def test_a_password_in_an_address_is_stored_nowhere() -> None:
    config = {"seed": 0, "track": {"uri": "https://me:hunter2@host/x"}}
    found = collect_files("run", config, {}, ["track.uri=https://me:hunter2@host/x"], torch.device("cpu"))
    assert not [name for name, text in found.items() if b"hunter2" in text and name != "changes.patch"]
    assert yaml.safe_load(found["config.yaml"])["track"]["uri"] == "https://me:…@host/x"


def test_a_failure_of_git_is_reported(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git_ = code.run_git
    monkeypatch.setattr(code, "run_git", lambda folder, *words, **more: (
        None if words[0] == "add" else git_(folder, *words, **more)))  # fmt: skip
    assert not code.read_changes(tree).is_complete


def test_the_flags_are_the_current_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.read_flags()
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not before["cudnn_benchmark"])
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    after = machine.read_flags()
    assert after["cudnn_benchmark"] is not before["cudnn_benchmark"]
    assert after["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_measuring_the_speed_draws_no_random_number() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert machine.measure_gflops(torch.device("cpu")) > 0
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("name", "is_machine_metric"), [
    ("system/cpu_utilization_percentage", True), ("train/data_wait", True), ("train/steps_per_second", True),
    ("test/Set5 x2 edsr/ms_per_image", True), ("cost/ms_per_image", True), ("cost/parameters", False),
    ("train/loss", False), ("val/Set5 x2 edsr/psnr", False),
])  # fmt: skip
def test_metrics_of_the_machine_are_recognized(name: str, is_machine_metric: bool) -> None:
    assert bool(machine.MACHINE_METRICS.fullmatch(name)) is is_machine_metric


def test_provenance_of_earlier_attempts_stays(tmp_path: Path) -> None:
    """Files of its options are those of the last attempt."""
    for attempt in range(3):
        for name in ("environment.yaml", "changes.patch", "overrides.yaml"):
            choose_path(tmp_path, name).write_text(f"attempt {attempt}")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "environment.yaml": "attempt 0", "environment.2.yaml": "attempt 1", "environment.3.yaml": "attempt 2",
        "changes.patch": "attempt 0", "changes.2.patch": "attempt 1", "changes.3.patch": "attempt 2",
        "overrides.yaml": "attempt 2",
    }  # fmt: skip


def test_a_damaged_package_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, head in {
        "half": "Name: half\n",
        "empty": "",
        "whole": "Name: whole\nVersion: 3\n\nA text: of it\n",
    }.items():
        (tmp_path / f"{name}-3.dist-info").mkdir()
        (tmp_path / f"{name}-3.dist-info" / "METADATA").write_text(head)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert list_packages.__wrapped__() == "whole==3\n"
