"""A run done again: what differs is named before it runs, and every number is compared, to the last bit."""

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import picture
from test_provenance import content, git, spoil, tree

from sr.record import git as code
from sr.record.identity import find_run
from sr.reproduction import environment, found, past, strangers
from sr.reproduction.points import points
from sr.reproduction.reproduction import Reproduction
from sr.reproduction.worktree import check_commit, repository, touched, worktree
from sr.runtime.error import UserError

__all__ = ["tree"]  # a fixture
ROOT = Path(__file__).parents[1]
SHA = "0123456789" * 4


def run_folder(folder: Path, **changed: Any) -> Path:
    """A run's folder with the least that it must hold; `changed` are files, in place of the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.yaml": {"seed": 0, "paths": {"data": str(folder)}, "model": {"net": {"_target_": "sr.net.edsr.EDSR"}}},
        "overrides.yaml": ["seed=0"],
        "environment.yaml": {"verb": "run", "git": {"sha": SHA}, "folder": str(folder), "python": "3.1"},
        "summary.json": {"run_id": "abcdef0123456789", "status": "FINISHED"},
    } | {name.replace("_", "."): value for name, value in changed.items()}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value) if name.endswith("json") else yaml.safe_dump(value))
    return folder


# the run


def test_a_run_that_only_mlflow_has_is_compared_by_what_mlflow_has(sr: Any, world: Path, tmp_path: Path) -> None:
    """Its files and points come; nothing is left of them afterwards."""
    from test_run import start

    _, summary, _ = start(sr, world, tmp_path / "runs", "track.system_interval=null")
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/summary.json"))
    before = {p for p in points(folder) if math.isfinite(p[2])}
    run = past.read(folder)
    shutil.rmtree(folder)
    with found.found(f"mlflow:{summary['run_id']}", None, tmp_path / "runs") as one:
        again = past.read(*one)
        assert (again.config, again.typed, again.data, again.patch) == (run.config, run.typed, run.data, run.patch)
        assert set(points(one.folder)) == before
        assert len(before) > 20
        assert again.id == one.tracked == summary["run_id"]
    assert not one.folder.exists()
    with pytest.raises(UserError, match=r"no run of this id in paths\.runs, nor at uri="), found.found(
        "0" * 32, None, tmp_path / "runs"):  # fmt: skip
        pass


def test_a_run_is_found_by_its_folder_its_name_and_its_id(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "runs" / "20260101_a")
    (folder / "run.json").write_text(json.dumps({"id": "1234567890", "run_id": "abcdef0123456789"}))
    for word in (str(folder), "20260101_a", "123456", "abcdef0123"):
        assert find_run(tmp_path / "runs", word, "run") == folder
    for word in ("12345", "nothing"):
        with pytest.raises(UserError, match=f"run={word}: expected a run's folder or its id"):
            find_run(tmp_path / "runs", word, "run")


@pytest.mark.parametrize(
    ("file", "value", "says"),
    [
        ("config_yaml", ["a"], "config.yaml or environment.yaml was not written by sr"),
        ("environment_yaml", {"verb": "run", "git": {}}, "its commit is not known"),
        ("environment_yaml", {"verb": "run", "git": {"sha": "--upload-pack=evil"}}, "its commit is not known"),
        ("environment_yaml", {"verb": "os.system", "git": {"sha": SHA}}, "only run and evaluate can be repeated"),
        ("overrides_yaml", "seed=1", "expected a list of words"),
        ("overrides_yaml", ["--config-dir=/tmp"], "expected a list of words"),
        ("data_json", {"train": {"a": {"digest": "", "source": "/", "files": {"../../etc/passwd": ""}}}}, "data.json"),
        ("data_json", {"train": ["a"]}, "data.json was not written by sr"),
    ],
)
def test_a_folder_that_is_damaged_or_doctored_is_refused(tmp_path: Path, file: str, value: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        past.read(run_folder(tmp_path / "run", **{file: value}))


STRANGER = b"""diff --git a/sr/net/odd.py b/sr/net/odd.py
new file mode 100644
--- /dev/null
+++ b/sr/net/odd.py
@@ -0,0 +1 @@
+class Odd: ...
"""


@pytest.mark.parametrize(
    ("typed", "target", "refused"),
    [
        ([], "os.system", True),
        (["+model.net._target_=os.system"], "sr.net.edsr.EDSR", True),
        (["+model.net={_target_: os.system}"], "sr.net.edsr.EDSR", True),
        ([], "sr.config.build.os.system", True),  # not a module of ours, though it begins like one
        ([], "sr.net.plain.nn.Conv2d", True),
        ([], "sr.net.new.New", True),
        ([], "sr.net.odd.Odd", False),  # its patch brings it
        ([], "sr.net.edsr.EDSR", False),
        ([], "tiny.Tiny", False),  # the user's own part, in the checkout
        ([], "tiny.os.system", True),
        ([], "strange.Tiny", True),
        ([], "torch.optim.Adam", False),
    ],
)
def test_a_stranger_may_not_name_any_class(tmp_path: Path, typed: list[str], target: str, refused: bool) -> None:
    sha = git(ROOT, "rev-parse", "HEAD").strip()
    folder = run_folder(
        tmp_path / "run", config_yaml={"model": {"net": [{"_target_": target}]}}, overrides_yaml=typed,
        environment_yaml={"verb": "run", "git": {"sha": sha, "folder": "/c"}, "parts": ["/c/mine"]},
    )  # fmt: skip
    (folder / "changes.patch").write_bytes(STRANGER + STRANGER.replace(b"sr/net/odd.py", b"mine/tiny.py"))
    run = past.read(folder)
    if refused:
        with pytest.raises(UserError, match="os.system" if typed else target):
            strangers.refuse(run, ROOT, [])
    else:
        strangers.refuse(run, ROOT, [])


def test_the_run_may_be_typed_alone(sr: Any, tmp_path: Path) -> None:
    answer = sr("reproduce", "nowhere", "--dry")
    assert (answer.code, answer.out) == (2, "")
    assert "run=nowhere: expected a run's folder or its id" in answer.err
    assert "still needed: run=" in sr("reproduce").err
    assert "tolerance=-1: expected a number" in sr("reproduce", "nowhere", "tolerance=-1").err
    folder = run_folder(tmp_path / "run")
    answer = sr("reproduce", str(folder), "--dry", f"repository={ROOT}")
    assert answer.code == 2
    assert "git fetch" in answer.err
    assert "expected a git clone" in sr("reproduce", str(folder), f"repository={tmp_path}").err


def test_images_are_found_where_they_lay_or_in_another_root_and_named(tmp_path: Path) -> None:
    import hashlib

    old = tmp_path / "old"
    files = {f"T91/HR/t{k}.png": picture(old / f"T91/HR/t{k}.png", seed=k).read_bytes() for k in range(3)}
    one = {"digest": "d", "source": str(old / "T91" / "HR")}
    one["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    run = past.read(run_folder(tmp_path / "run", data_json={"train": {"T91": one}}))
    assert environment.of_images(run, tmp_path / "nowhere", None) == []
    shutil.copytree(old, tmp_path / "new")
    shutil.rmtree(old)
    picture(tmp_path / "new" / "T91/HR/t1.png", seed=9)
    (tmp_path / "new" / "T91/HR/t2.png").unlink()
    assert environment.of_images(run, tmp_path / "new", tmp_path / "cache") == [
        "T91/HR/t1.png differs", "T91/HR/t2.png is missing",
    ]  # fmt: skip


def test_the_command_is_the_runs_with_the_places_of_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is tracked, and where things lie, is this machine's; a checkpoint that it began with is part of it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "start.ckpt").touch()
    typed = ["seed=3", "paths.data=/theirs", "track.uri=http://theirs", "hydra.run.dir=x", "resume=start.ckpt",
             f"resume='{tmp_path}'", "track.group=a"]  # fmt: skip
    about = {"verb": "run", "git": {"sha": SHA, "folder": "/gone/clone"}, "folder": str(tmp_path),
             "parts": ["/gone/clone/mine"],
             "flags": {"threads": 2, "variables": {"OMP_NUM_THREADS": "5", "LD_PRELOAD": "evil.so"}}}  # fmt: skip
    folder = run_folder(tmp_path / "run", overrides_yaml=typed, environment_yaml=about)
    paths = {"runs": str(tmp_path / "runs"), "data": str(tmp_path / "sets"), "cache": None}
    dials = {"dry": False, "force": False, "tolerance": 0.0, "repository": None, "trust": [], "paths": paths}
    again = Reproduction(found.Found(folder), **dials)
    assert again._command(tmp_path / "tree")[3:] == [
        f"--config-dir={tmp_path}/tree/mine", "seed=3", "resume=start.ckpt", "track.group=a",
        f"paths.data={tmp_path}/sets", f"paths.runs={tmp_path}/runs",
    ]  # fmt: skip
    env = again._environment(tmp_path / "tree")
    assert (env["OMP_NUM_THREADS"], env["PYTHONSAFEPATH"], env["SR_REPRODUCES"]) == ("2", "1", again.past.id)
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "tree")
    assert "LD_PRELOAD" not in env


def test_packages_and_machine_are_compared_one_by_one(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "packages.txt").write_text(f"torch==0.1\npytest=={pytest.__version__}\n")
    run = past.read(folder)
    told = environment.of_packages(run)
    assert f"torch 0.1 there, {torch.__version__} here" in told
    assert not [line for line in told if line.startswith("pytest ")]
    assert environment.of_machine(run) == [f"python 3.1 there, {sys.version.split()[0]} here"]


def test_configs_are_compared_but_for_where_things_lie() -> None:
    there = {"scale": 2, "paths": {"data": "/a"}, "data": {"root": "/a"}, "track": {"uri": "x"}, "model": {"width": 8}}
    here = {"scale": 2, "paths": {"data": "/b"}, "data": {"root": "/b"}, "track": {}, "model": {"width": 9}}
    assert environment.of_config(there, here) == ["model.width 8 there, 9 here"]


# the worktree


def test_the_runs_code_is_there_while_it_is_needed(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(tree), "clone")
    spoil(tree)
    sha, patch = code.read_state(tree)["sha"], code.read_changes(tree).patch
    clone = repository(str(tmp_path / "clone"))
    with pytest.raises(KeyboardInterrupt), worktree(clone, sha, patch) as folder:
        assert content(folder) == content(tree)
        assert code.read_changes(folder).patch == patch
        raise KeyboardInterrupt
    assert not folder.exists()
    assert git(clone, "worktree", "list").count("\n") == 1
    assert git(clone, "status", "--porcelain") == ""
    assert set(touched(patch)) >= {"sr/net.py", "gone.py", "new/weights.bin"}


def test_a_commit_or_a_patch_that_does_not_fit_is_told_of(tree: Path) -> None:
    with pytest.raises(UserError, match="git fetch there, or name a clone that has it: repository=CLONE"):
        check_commit(tree, SHA)
    with (
        pytest.raises(UserError, match="git apply failed"),
        worktree(tree, code.read_state(tree)["sha"], b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
    ):
        pass
    assert git(tree, "worktree", "list").count("\n") == 1
