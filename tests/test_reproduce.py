"""A run that is repeated: differences are named before it runs, and every number is compared to the last bit."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import write_image
from test_provenance import change_files, content, git, tree

from sr.record import git as code
from sr.record.identity import find_run
from sr.reproduction import environment
from sr.reproduction.locate import LocatedRun, locate_run
from sr.reproduction.metrics import read_points, select_trackable
from sr.reproduction.recorded_run import read_run
from sr.reproduction.repetition import LocalPaths, build_command, build_variables
from sr.reproduction.reproduction import Reproduction
from sr.reproduction.targets import check_run_targets
from sr.reproduction.worktree import check_commit, create_worktree, find_clone, list_changed_files
from sr.runtime.error import UserError

__all__ = ["tree"]  # a fixture
ROOT = Path(__file__).parents[1]
SHA = "0123456789" * 4


def run_folder(folder: Path, **changed: Any) -> Path:
    """Write a run folder with the required files; `changed` replaces their contents."""
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


# The run


@pytest.mark.slow(1)
@pytest.mark.usefixtures("sender_thread")
def test_a_run_that_only_mlflow_has_is_downloaded(sr: Any, world: Path, tmp_path: Path) -> None:
    """Its files and metrics are downloaded to a temporary folder."""
    from test_run import start

    _, summary, _ = start(sr, world, tmp_path / "runs", "track.system_interval=null")
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/summary.json"))
    before = {*select_trackable(read_points(folder))}
    run = read_run(folder)
    shutil.rmtree(folder)
    with locate_run(f"mlflow:{summary['run_id']}", None, tmp_path / "runs") as located:
        again = read_run(*located)
        expected = (run.config, run.overrides, run.data, run.patch)
        assert (again.config, again.overrides, again.data, again.patch) == expected
        assert set(read_points(located.folder)) == before
        assert len(before) > 20
        assert again.id == located.tracker_id == summary["run_id"]
    assert not located.folder.exists()
    with pytest.raises(UserError, match=r"no run of this id in paths\.runs, nor at uri="), locate_run(
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
        ("config_yaml", ["a"], "config.yaml was not written by sr"),
        ("environment_yaml", {"verb": "run", "git": {}}, "its commit is unknown"),
        ("environment_yaml", {"verb": "run", "git": {"sha": "--upload-pack=evil"}}, "its commit is unknown"),
        ("environment_yaml", {"verb": "os.system", "git": {"sha": SHA}}, "only sr.run and sr.evaluate can be repeated"),
        ("overrides_yaml", "seed=1", "expected a list of words"),
        ("overrides_yaml", ["--config-dir=/tmp"], "expected a list of words"),
        ("data_json", {"train": {"a": {"digest": "", "source": "/", "files": {"../../etc/passwd": ""}}}}, "data.json"),
        ("data_json", {"train": ["a"]}, "data.json was not written by sr"),
    ],
)
def test_a_damaged_or_manipulated_folder_is_refused(tmp_path: Path, file: str, value: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_run(run_folder(tmp_path / "run", **{file: value}))


PATCH_OF_NEW_MODULE = b"""diff --git a/sr/net/odd.py b/sr/net/odd.py
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
def test_a_run_of_somebody_else_may_not_name_any_class(
    tmp_path: Path, typed: list[str], target: str, refused: bool
) -> None:
    sha = git(ROOT, "rev-parse", "HEAD").strip()
    folder = run_folder(
        tmp_path / "run", config_yaml={"model": {"net": [{"_target_": target}]}}, overrides_yaml=typed,
        environment_yaml={"verb": "run", "git": {"sha": sha, "folder": "/c"}, "parts": ["/c/mine"]},
    )  # fmt: skip
    (folder / "changes.patch").write_bytes(
        PATCH_OF_NEW_MODULE + PATCH_OF_NEW_MODULE.replace(b"sr/net/odd.py", b"mine/tiny.py")
    )
    run = read_run(folder)
    if refused:
        with pytest.raises(UserError, match="os.system" if typed else target):
            check_run_targets(run, ROOT, [])
    else:
        check_run_targets(run, ROOT, [])


def test_the_run_may_be_typed_alone(sr: Any, tmp_path: Path) -> None:
    answer = sr("reproduce", "nowhere", "--dry")
    assert (answer.code, answer.out) == (2, "")
    assert "run=nowhere: expected a run's folder or its id" in answer.err
    assert "missing: run=" in sr("reproduce").err
    assert "tolerance=-1: expected a number" in sr("reproduce", "nowhere", "tolerance=-1").err
    folder = run_folder(tmp_path / "run")
    answer = sr("reproduce", str(folder), "--dry", f"repository={ROOT}")
    assert answer.code == 2
    assert "git fetch" in answer.err
    assert "expected a git clone" in sr("reproduce", str(folder), f"repository={tmp_path}").err


def test_images_are_found_in_their_old_or_in_another_folder(tmp_path: Path) -> None:
    import hashlib

    old = tmp_path / "old"
    files = {f"T91/HR/t{k}.png": write_image(old / f"T91/HR/t{k}.png", seed=k).read_bytes() for k in range(3)}
    one = {"digest": "d", "source": str(old / "T91" / "HR")}
    one["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    run = read_run(run_folder(tmp_path / "run", data_json={"train": {"T91": one}}))
    assert environment.find_image_differences(run, tmp_path / "nowhere", None) == []
    shutil.copytree(old, tmp_path / "new")
    shutil.rmtree(old)
    write_image(tmp_path / "new" / "T91/HR/t1.png", seed=9)
    (tmp_path / "new" / "T91/HR/t2.png").unlink()
    assert environment.find_image_differences(run, tmp_path / "new", tmp_path / "cache") == [
        "T91/HR/t1.png differs", "T91/HR/t2.png is missing",
    ]  # fmt: skip


def test_the_command_is_the_runs_with_the_paths_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths and tracking are this machine's; a checkpoint that the run began with is part of its command."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "start.ckpt").touch()
    typed = ["seed=3", "paths.data=/theirs", "track.uri=http://theirs", "hydra.run.dir=x", "resume=start.ckpt",
             f"resume='{tmp_path}'", "track.group=a"]  # fmt: skip
    about = {"verb": "run", "git": {"sha": SHA, "folder": "/deleted/clone"}, "folder": str(tmp_path),
             "parts": ["/deleted/clone/mine"],
             "flags": {"threads": 2, "variables": {"OMP_NUM_THREADS": "5", "LD_PRELOAD": "evil.so"}}}  # fmt: skip
    folder = run_folder(tmp_path / "run", overrides_yaml=typed, environment_yaml=about)
    paths = {"runs": str(tmp_path / "runs"), "data": str(tmp_path / "sets"), "cache": None}
    options = {"dry": False, "force": False, "tolerance": 0.0, "repository": None, "trust": [], "paths": paths}
    again = Reproduction(LocatedRun(folder), **options)
    assert build_command(again.run, tmp_path / "tree", again.paths)[3:] == [
        f"--config-dir={tmp_path}/tree/mine", "seed=3", "resume=start.ckpt", "track.group=a",
        f"paths.data={tmp_path}/sets", f"paths.runs={tmp_path}/runs",
    ]  # fmt: skip
    env = build_variables(again.run, tmp_path / "tree")
    assert (env["OMP_NUM_THREADS"], env["PYTHONSAFEPATH"], env["SR_REPRODUCES"]) == ("2", "1", again.run.id)
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "tree")
    assert "LD_PRELOAD" not in env


def test_what_perf_chose_is_repeated(tmp_path: Path) -> None:
    config = {"perf": "auto", "trainer": {"channels_last": False, "compile": False, "precision": "32-true"}}
    folder = run_folder(tmp_path / "run", config_yaml=config, overrides_yaml=["perf=auto", "trainer.compile=false"])
    paths = LocalPaths(tmp_path, None, tmp_path / "runs", None)
    assert build_command(read_run(folder), tmp_path, paths)[3:7] == [
        "perf=auto", "trainer.compile=false", "trainer.channels_last=false", "trainer.precision=32-true",
    ]  # fmt: skip


def test_a_model_is_the_version_that_its_alias_pointed_to(tmp_path: Path) -> None:
    about = {"verb": "run", "git": {"sha": SHA}, "versions": {"model.init": "models:/sr/3", "trust": "models:/evil"}}
    folder = run_folder(tmp_path / "run", overrides_yaml=["model.init=models:/sr@champion"], environment_yaml=about)
    command = build_command(read_run(folder), tmp_path, LocalPaths(tmp_path, None, tmp_path / "runs", None))
    assert command[3:5] == ["model.init=models:/sr@champion", 'model.init="models:/sr/3"']  # the last one counts
    assert not [word for word in command if word.startswith("trust")]


def test_packages_and_machine_are_compared_one_by_one(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "packages.txt").write_text(f"torch==0.1\npytest=={pytest.__version__}\n")
    run = read_run(folder)
    lines = environment.find_package_differences(run)
    assert f"torch: 0.1 in the run, {torch.__version__} here" in lines
    assert not [line for line in lines if line.startswith("pytest:")]
    assert environment.find_machine_differences(run) == [f"python: 3.1 in the run, {sys.version.split()[0]} here"]


def test_configs_are_compared_without_paths_and_tracking() -> None:
    there = {"scale": 2, "paths": {"data": "/a"}, "data": {"root": "/a"}, "track": {"uri": "x"}, "model": {"width": 8}}
    here = {"scale": 2, "paths": {"data": "/b"}, "data": {"root": "/b"}, "track": {}, "model": {"width": 9}}
    assert environment.find_config_differences(there, here) == ["model.width: 8 in the run, 9 here"]


# The worktree


def test_the_runs_code_is_there_for_the_block_only(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(tree), "clone")
    change_files(tree)
    sha, patch = code.read_state(tree)["sha"], code.read_changes(tree).patch
    clone = find_clone(str(tmp_path / "clone"))
    with pytest.raises(KeyboardInterrupt), create_worktree(clone, sha, patch) as folder:
        assert content(folder) == content(tree)
        assert code.read_changes(folder).patch == patch
        raise KeyboardInterrupt
    assert not folder.exists()
    assert git(clone, "worktree", "list").count("\n") == 1
    assert git(clone, "status", "--porcelain") == ""
    assert set(list_changed_files(patch)) >= {"sr/net.py", "deleted.py", "new/weights.bin"}


def test_a_missing_commit_or_a_patch_that_does_not_apply_is_an_error(tree: Path) -> None:
    with pytest.raises(UserError, match="git fetch there, or name a clone that has it: repository=CLONE"):
        check_commit(tree, SHA)
    with (
        pytest.raises(UserError, match="git apply failed"),
        create_worktree(
            tree, code.read_state(tree)["sha"], b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
        ),
    ):
        pass
    assert git(tree, "worktree", "list").count("\n") == 1


def test_a_second_best_checkpoint_that_differs_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The best checkpoint of a GAN by PSNR is equal, the one by a perceptual metric is not."""
    folders = [run_folder(tmp_path / name) for name in ("original", "repetition")]
    for k, folder in enumerate(folders):
        for name in ("best.ckpt", "best_spectrum.ckpt", "last.ckpt"):
            weight = torch.ones(3) + (k if name == "best_spectrum.ckpt" else 0)
            torch.save({"state_dict": {"net.a": weight}}, folder / name)
    paths = {"runs": str(tmp_path), "data": None, "cache": None}
    options = {"dry": False, "force": False, "tolerance": 1e-3, "repository": None, "trust": [], "paths": paths}
    assert not Reproduction(LocatedRun(folders[0]), **options)._compare(read_run(folders[1]))
    out = capsys.readouterr().out
    assert "2 equal to the last bit" in out
    assert "best_spectrum.ckpt: most in net.a" in out
    assert "NOT reproduced" in out
