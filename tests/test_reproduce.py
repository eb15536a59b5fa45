"""A run done again: what differs is named before it runs, and every number is compared, to the last bit."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import picture
from test_provenance import content, git, spoil, tree

from sr.error import UserError
from sr.reproduction import environment, final, found, past, strangers
from sr.reproduction.points import CLOSE, EQUAL, OTHER, compare, points, relative
from sr.reproduction.reproduction import Reproduction
from sr.reproduction.worktree import check_commit, repository, touched, worktree
from sr.track import code, identity

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


# points


def outcome(there: list[Any], here: list[Any], tolerance: float = 1e-3) -> Any:
    (only,) = compare([("loss", *p) for p in there], [("loss", *p) for p in here], tolerance)
    return only


@pytest.mark.parametrize(
    ("here", "kind", "step"),
    [
        ([(1, 0.5), (2, 0.25), (3, math.nan)], EQUAL, None),
        ([(1, 0.5), (2, 0.25000001), (3, math.nan)], CLOSE, 2),
        ([(1, 0.5000001), (2, 0.3), (3, math.nan)], OTHER, 2),
        ([(1, 0.5), (2, 0.25), (3, 1.0)], OTHER, 3),
        ([(1, 0.5), (2, 0.25)], OTHER, 3),
        ([(1, 0.5), (2, 0.25), (3, math.nan), (4, 1.0)], OTHER, 4),
    ],
)
def test_points_are_equal_close_or_other_and_from_which_step_on(here: list[Any], kind: str, step: int | None) -> None:
    found = outcome([(1, 0.5), (2, 0.25), (3, math.nan)], here)
    assert found.kind == kind
    assert found.where == "" if step is None else found.where.startswith((f"from step {step} on", f"step {step} is"))


def test_the_tolerance_is_relative_and_zero_means_equal() -> None:
    assert relative(1000.0, 1001.0) == pytest.approx(1 / 1001)
    assert outcome([(1, 1000.0)], [(1, 1000.5)], 1e-3).kind == CLOSE
    assert outcome([(1, 1e-9)], [(1, 2e-9)], 1e-3).kind == OTHER
    assert outcome([(1, 1.0)], [(1, math.nextafter(1.0, 2))], 0.0).kind == OTHER
    assert outcome([(1, math.inf)], [(1, math.inf)]).kind == EQUAL


def test_metrics_that_one_run_lacks_are_told_and_those_of_machines_left_out() -> None:
    there = [("loss", 1, 1.0), ("train/data_wait", 1, 0.3), ("system/cpu_utilization_percentage", 1, 7.0)]
    here = [("loss", 1, 1.0), ("train/data_wait", 1, 0.9), ("psnr", 1, 30.0)]
    assert [(one.name, one.kind) for one in compare(there, here, 0.1)] == [("loss", EQUAL), ("psnr", OTHER)]
    assert compare([("loss", 1, 1.0)], [("loss", 1, 1.0), ("loss", 2, 0.5)], 0.1, last=1)[0].kind == EQUAL


def test_the_journal_is_read_without_what_was_superseded_or_torn(tmp_path: Path) -> None:
    entries = [{"points": {"a": step, "b": "nan"}, "step": step} for step in (1, 2, 3)]
    entries += [{"back": 1}, {"points": {"a": 20.0}, "step": 2}, {"tag": "x", "value": "y"}]
    lines = [json.dumps(entry).encode() for entry in entries]
    whole = b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines)
    (tmp_path / "journal.jsonl").write_bytes(whole + whole[:20])
    found = list(points(tmp_path))
    assert [p for p in found if p[0] == "a"] == [("a", 1, 1.0), ("a", 2, 20.0)]
    assert [(name, step) for name, step, value in found if math.isnan(value)] == [("b", 1)]


# weights


def test_weights_are_compared_tensor_by_tensor(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    weight = {"net.a": torch.tensor([1.0, float("nan")]), "net.b": torch.ones(3), "step": torch.tensor(3)}

    def kind(other: dict[str, torch.Tensor]) -> Any:
        for folder, state in ((there, weight), (here, weight | other)):
            torch.save({"state_dict": state}, folder / "last.ckpt")
        (only,) = final.compare(there, here, 1e-3)
        return only

    assert kind({}).kind == EQUAL
    close = kind({"net.b": torch.tensor([1.0, 1.0, 1.0 + 1e-6])})
    assert (close.kind, close.where) == (CLOSE, "most in net.b")
    assert kind({"net.b": torch.tensor([1.0, 1.0, 1.1])}).kind == OTHER
    assert kind({"net.b": torch.ones(4)}).kind == OTHER
    assert kind({"net.c": torch.ones(1)}).kind == OTHER


# the run


def test_a_run_that_only_mlflow_has_is_compared_by_what_mlflow_has(sr: Any, world: Path, tmp_path: Path) -> None:
    """Its files and points come; nothing is left of them afterwards."""
    from test_run import start

    _, summary, _ = start(sr, world, tmp_path / "runs", "track.system_every=null")
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
        assert identity.find(tmp_path / "runs", word, "run") == folder
    for word in ("12345", "nothing"):
        with pytest.raises(UserError, match=f"run={word}: expected a run's folder or its id"):
            identity.find(tmp_path / "runs", word, "run")


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
        ([], "sr.build.os.system", True),  # not a module of ours, though it begins like one
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
    sha, patch = code.state(tree)["sha"], code.changes(tree).patch
    clone = repository(str(tmp_path / "clone"))
    with pytest.raises(KeyboardInterrupt), worktree(clone, sha, patch) as folder:
        assert content(folder) == content(tree)
        assert code.changes(folder).patch == patch
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
        worktree(tree, code.state(tree)["sha"], b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
    ):
        pass
    assert git(tree, "worktree", "list").count("\n") == 1


# the whole


DIALS = ("data=folder", "data.patch=32", "data.batch=4", "trainer.accelerator=cpu", "trainer.max_steps=6",
         "trainer.val_check_interval=2", "model.net.width=8")  # fmt: skip


def sr_in(clone: Path, runs: Path, verb: str, *words: str, **more: str) -> subprocess.CompletedProcess:
    """Types a command in a clone, with nothing of this process's tree on the way."""
    env = (
        {k: v for k, v in os.environ.items() if k != "SR_DATA"} | {"SR_RUNS": str(runs), "OMP_NUM_THREADS": "1"} | more
    )
    command = [sys.executable, "-m", f"sr.{verb}", *words]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
def test_a_run_of_a_dirty_tree_is_reproduced_from_another_clone_to_the_last_bit(tmp_path: Path) -> None:
    """The tree holds a net that no commit has, and an initial weight in a binary file."""
    git(tmp_path, "clone", "-q", str(ROOT), "first")
    git(tmp_path, "clone", "-q", str(ROOT), "second")
    first, second, runs, photos = (tmp_path / name for name in ("first", "second", "runs", "photos"))
    patch = code.changes(ROOT).patch  # the tests are of this tree, committed or not
    for clone in (first, second):
        if patch:
            subprocess.run(["git", "apply", "-"], cwd=clone, input=patch, check=True)
    for k in range(4):
        picture(photos / f"p{k}.png", seed=k)
    plain = (first / "sr" / "net" / "plain.py").read_text()
    (first / "sr" / "net" / "odd.py").write_text(
        plain.replace("class Plain", "class Odd") + "\nfrom pathlib import Path\nimport torch\n"
        "torch.manual_seed(Path(__file__).with_name('seed.bin').read_bytes()[200])\n"
    )
    (first / "sr" / "net" / "seed.bin").write_bytes(bytes(range(255, -1, -1)))
    node = (first / "conf" / "model" / "net" / "plain.yaml").read_text()
    (first / "conf" / "model" / "net" / "odd.yaml").write_text(node.replace("plain.Plain", "odd.Odd"))

    done = sr_in(first, runs, "run", *DIALS, f"data.path={photos}", "model/net=odd")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in runs.glob("*/summary.json"))
    shutil.rmtree(first / "sr" / "net")  # the tree that it came from is of no use any more
    again = sr_in(second, runs, "reproduce", str(folder), f"repository={second}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "reproduced: equal to the last bit" in again.stdout
    assert "NOT" not in again.stdout
    assert "code  " not in again.stdout
    (other,) = (path.parent for path in runs.glob("*/summary.json") if path.parent != folder)
    assert (other / "changes.patch").read_bytes() == (folder / "changes.patch").read_bytes()
    assert b"seed.bin" in (folder / "changes.patch").read_bytes()

    from mlflow import MlflowClient

    ids = [json.loads((path / "summary.json").read_text())["run_id"] for path in (folder, other)]
    tags = MlflowClient(f"sqlite:///{runs}/mlflow.db").get_run(ids[1]).data.tags
    assert tags["sr.reproduces"] == past.read(folder).id

    spoiled = bytearray((photos / "p2.png").read_bytes())
    spoiled[-1] ^= 1
    (photos / "p2.png").write_bytes(spoiled)
    before = set(runs.iterdir())
    stopped = sr_in(second, runs, "reproduce", str(folder), f"repository={second}")
    assert stopped.returncode == 2
    assert "photos/p2.png differs" in stopped.stdout
    assert "force=true" in stopped.stderr
    dry = sr_in(second, runs, "reproduce", str(folder), "--dry", f"repository={second}")
    assert (dry.returncode, "photos/p2.png differs" in dry.stdout) == (3, True)
    assert set(runs.iterdir()) == before
    picture(photos / "p2.png", seed=77)
    forced = sr_in(second, runs, "reproduce", str(folder), "force=true", f"repository={second}")
    assert forced.returncode == 3, forced.stdout + forced.stderr
    assert "NOT reproduced" in forced.stdout
    assert "photos/p2.png differs" in forced.stdout.partition("repetition")[2]
    assert git(second, "worktree", "list").count("\n") == 1


@pytest.mark.slow
def test_an_interrupted_repetition_leaves_no_worktree_and_no_process(tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(ROOT), "clone")
    clone, runs, photos = (tmp_path / name for name in ("clone", "runs", "photos"))
    patch = code.changes(ROOT).patch
    if patch:
        subprocess.run(["git", "apply", "-"], cwd=clone, input=patch, check=True)
    for k in range(4):
        picture(photos / f"p{k}.png", seed=k)
    long = ("trainer.max_steps=100000", "trainer.val_check_interval=100000", "track=none")
    env = os.environ | {"SR_RUNS": str(runs), "OMP_NUM_THREADS": "1"}

    def interrupted(name: str, *words: str) -> str:
        process = subprocess.Popen([sys.executable, "-m", f"sr.{name}", *words], cwd=clone, env=env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        before, end = len(list(runs.glob("*/data.json"))), time.monotonic() + 120
        while len(list(runs.glob("*/data.json"))) == before and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 130, out
        return out

    interrupted("run", *DIALS[:-2], f"data.path={photos}", *long)
    (folder,) = (path.parent for path in runs.glob("*/data.json"))
    interrupted("reproduce", str(folder), f"repository={clone}")
    assert git(clone, "worktree", "list").count("\n") == 1
    (other,) = (path.parent for path in runs.glob("*/data.json") if path.parent != folder)
    assert json.loads((other / "summary.json").read_text())["status"] == "KILLED"
