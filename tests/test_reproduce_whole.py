"""`sr.reproduce` from end to end, in clones of this tree."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_image
from test_provenance import git
from test_reproduce import ROOT

from sr.record import git as code
from sr.reproduction.recorded_run import read_run

OPTIONS = ("data=folder", "data.patch=32", "data.batch=4", "trainer.accelerator=cpu", "trainer.max_steps=6",
         "trainer.val_check_interval=2", "model.net.width=8")  # fmt: skip


def sr_in(clone: Path, runs: Path, verb: str, *words: str, **more: str) -> subprocess.CompletedProcess:
    """Run a command in a clone, without this process's tree on its path."""
    env = (
        {k: v for k, v in os.environ.items() if k != "SR_DATA"} | {"SR_RUNS": str(runs), "OMP_NUM_THREADS": "1"} | more
    )
    command = [sys.executable, "-m", f"sr.{verb}", *words]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.long
def test_a_run_of_a_dirty_tree_is_reproduced_from_another_clone_to_the_last_bit(tmp_path: Path) -> None:
    """The tree holds a net that no commit has, and an initial weight in a binary file."""
    git(tmp_path, "clone", "-q", str(ROOT), "first")
    git(tmp_path, "clone", "-q", str(ROOT), "second")
    first, second, runs, photos = (tmp_path / name for name in ("first", "second", "runs", "photos"))
    patch = code.read_changes(ROOT).patch  # the tests are of this tree, committed or not
    for clone in (first, second):
        if patch:
            subprocess.run(["git", "apply", "-"], cwd=clone, input=patch, check=True)
    for k in range(4):
        write_image(photos / f"p{k}.png", seed=k)
    plain = (first / "sr" / "net" / "plain.py").read_text()
    (first / "sr" / "net" / "odd.py").write_text(
        plain.replace("class Plain", "class Odd") + "\nfrom pathlib import Path\nimport torch\n"
        "torch.manual_seed(Path(__file__).with_name('seed.bin').read_bytes()[200])\n"
    )
    (first / "sr" / "net" / "seed.bin").write_bytes(bytes(range(255, -1, -1)))
    node = (first / "conf" / "model" / "net" / "plain.yaml").read_text()
    (first / "conf" / "model" / "net" / "odd.yaml").write_text(node.replace("plain.Plain", "odd.Odd"))

    done = sr_in(first, runs, "run", *OPTIONS, f"data.path={photos}", "model/net=odd")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in runs.glob("*/summary.json"))
    shutil.rmtree(first / "sr" / "net")  # the tree that it came from is of no use any more
    refused = sr_in(second, runs, "reproduce", str(folder), f"repository={second}")
    assert (refused.returncode, "type trust=[patch] to execute it" in refused.stderr) == (2, True), refused.stderr
    again = sr_in(second, runs, "reproduce", str(folder), f"repository={second}", "trust=[patch]")
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
    assert tags["sr.reproduces"] == read_run(folder).id

    damaged = bytearray((photos / "p2.png").read_bytes())
    damaged[-1] ^= 1
    (photos / "p2.png").write_bytes(damaged)
    before = set(runs.iterdir())
    stopped = sr_in(second, runs, "reproduce", str(folder), f"repository={second}", "trust=[patch]")
    assert stopped.returncode == 2
    assert "photos/p2.png differs" in stopped.stdout
    assert "force=true" in stopped.stderr
    dry = sr_in(second, runs, "reproduce", str(folder), "--dry", f"repository={second}")
    assert (dry.returncode, "photos/p2.png differs" in dry.stdout) == (3, True)
    assert set(runs.iterdir()) == before
    write_image(photos / "p2.png", seed=77)
    forced = sr_in(second, runs, "reproduce", str(folder), "force=true", f"repository={second}", "trust=[patch]")
    assert forced.returncode == 3, forced.stdout + forced.stderr
    assert "NOT reproduced" in forced.stdout
    assert "photos/p2.png differs" in forced.stdout.partition("repetition")[2]
    assert git(second, "worktree", "list").count("\n") == 1


@pytest.mark.slow
def test_an_extended_run_is_reproduced_to_the_last_bit(tmp_path: Path) -> None:
    """The learning rate of its first part fell to the end of two steps, which no run of four steps does."""
    git(tmp_path, "clone", "-q", str(ROOT), "clone")
    clone, runs = tmp_path / "clone", tmp_path / "runs"
    patch = code.read_changes(ROOT).patch
    if patch:
        subprocess.run(["git", "apply", "-"], cwd=clone, input=patch, check=True)
    for k in range(4):
        write_image(tmp_path / "photos" / f"p{k}.png", seed=k)
    words = [word for word in OPTIONS if "max_steps" not in word]
    words += [f"data.path={tmp_path}/photos", "track=journal", "data.test=[]", "model/net=plain"]
    assert sr_in(clone, runs, "run", *words, "trainer.max_steps=2").returncode == 0
    (folder,) = (path.parent for path in runs.glob("*/summary.json"))
    extended = sr_in(clone, runs, "run", f"resume={folder}", "trainer.max_steps=4")
    assert extended.returncode == 0, extended.stderr
    again = sr_in(clone, runs, "reproduce", str(folder), f"repository={clone}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "part 2 of 2" in again.stdout
    assert "reproduced: equal to the last bit" in again.stdout


@pytest.mark.long
def test_an_interrupted_repetition_leaves_no_worktree_and_no_process(tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(ROOT), "clone")
    clone, runs, photos = (tmp_path / name for name in ("clone", "runs", "photos"))
    patch = code.read_changes(ROOT).patch
    if patch:
        subprocess.run(["git", "apply", "-"], cwd=clone, input=patch, check=True)
    for k in range(4):
        write_image(photos / f"p{k}.png", seed=k)
    long = ("trainer.max_steps=100000", "trainer.val_check_interval=100000", "track=none")
    env = os.environ | {"SR_RUNS": str(runs), "OMP_NUM_THREADS": "1"}

    def interrupt(name: str, *words: str) -> str:
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

    interrupt("run", *OPTIONS[:-2], f"data.path={photos}", *long)
    (folder,) = (path.parent for path in runs.glob("*/data.json"))
    interrupt("reproduce", str(folder), f"repository={clone}")
    assert git(clone, "worktree", "list").count("\n") == 1
    (other,) = (path.parent for path in runs.glob("*/data.json") if path.parent != folder)
    assert json.loads((other / "summary.json").read_text())["status"] == "KILLED"
