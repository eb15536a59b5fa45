"""A run that was resumed is repeated in its parts; code that was not made in this clone is executed only if it is trusted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_provenance import change_files, git, tree
from test_reproduce import PATCH_OF_NEW_MODULE, SHA, run_folder

from sr.lifecycle.provenance import collect_files
from sr.record import git as code
from sr.record.journal_format import JOURNAL_FILE, append_entries
from sr.reproduction.locate import LocatedRun
from sr.reproduction.parts import split_run
from sr.reproduction.recorded_run import read_run
from sr.reproduction.repetition import LocalPaths, build_command
from sr.reproduction.reproduction import Reproduction
from sr.runtime.error import UserError

__all__ = ["tree"]  # a fixture


def attempt(command: str, sha: str = SHA, **more: Any) -> dict[str, Any]:
    """Return the environment.yaml of one attempt."""
    return {
        "verb": "run",
        "git": {"sha": sha, "dirty": "false"},
        "folder": "/",
        "command": f"python -m sr.run {command}",
    } | more


def resumed_run(folder: Path, statuses: list[str], *environments: dict[str, Any]) -> Path:
    """Write a run with one attempt for each environment; `statuses` are those of all but the last one."""
    numbered = {f"environment_{k}_yaml": environment for k, environment in enumerate(environments[1:], 2)}
    run_folder(folder, environment_yaml=environments[0], **numbered)
    entries = []
    for number, status in enumerate(statuses, 2):
        entries += [{"status": status, "time": 1}] * (status != "killed") + [{"again": number, "time": 1}]
    (folder / JOURNAL_FILE).touch()
    append_entries(folder / JOURNAL_FILE, entries)
    return folder


def test_an_extended_run_is_repeated_part_by_part(tmp_path: Path) -> None:
    """The first part has the options of its own time, the second one continues the repetition with what was typed then."""
    folder = resumed_run(
        tmp_path / "run", ["KILLED", "FINISHED"], attempt("seed=3 trainer.max_steps=2"),
        attempt("seed=3 trainer.max_steps=2 checkpoint_minutes=1 resume=/x"),
        attempt("'data.val=[]' seed=3 trainer.max_steps=4 'resume=\"/x\"'"),
    )  # fmt: skip
    run = read_run(folder)
    first, second = split_run(run).parts
    paths = LocalPaths(tmp_path, tmp_path / "data", tmp_path / "runs", None)
    own = [f"paths.data={tmp_path}/data", f"paths.runs={tmp_path}/runs"]
    assert build_command(first, tmp_path, paths)[3:] == ["seed=3", "trainer.max_steps=2", *own]
    assert build_command(second, tmp_path, paths, tmp_path / "a b", first)[3:] == [
        "data.val=[]", "trainer.max_steps=4", f'resume="{tmp_path}/a b"', *own,
    ]  # fmt: skip


def test_the_first_part_may_have_no_options_at_all(tmp_path: Path) -> None:
    folder = resumed_run(tmp_path / "run", ["FINISHED"], attempt(""), attempt("trainer.max_steps=2400 resume=/x"))
    assert [part.overrides for part in split_run(read_run(folder)).parts] == [
        [], ["trainer.max_steps=2400", "resume=/x"],
    ]  # fmt: skip
    environments = [{k: v for k, v in attempt("").items() if k != "command"}, attempt("trainer.max_steps=2400")]
    folder = resumed_run(tmp_path / "old", ["FINISHED"], *environments)
    parts, doubts = split_run(read_run(folder))
    assert [part.overrides for part in parts] == [["seed=0"]]
    assert doubts == ["the options of its attempts are not recorded, so it is repeated as one run"]


def test_a_run_that_was_only_interrupted_is_repeated_as_a_whole(tmp_path: Path) -> None:
    """Under other code it may give other numbers, which is said."""
    words = "seed=0 trainer.max_steps=4"
    folder = resumed_run(tmp_path / "run", ["killed"], attempt(words), attempt(f"{words} resume=/x"))
    assert (len(split_run(read_run(folder)).parts), split_run(read_run(folder)).doubts) == (1, [])
    other = "f" * 40
    folder = resumed_run(tmp_path / "other", ["killed"], attempt(words), attempt(f"{words} resume=/x", other))
    assert split_run(read_run(folder)).doubts == [
        f"it was resumed with other code, of commit {other[:12]}, which is not repeated"
    ]


def test_a_part_that_ended_before_its_last_step_cannot_be_repeated(tmp_path: Path) -> None:
    words = "seed=0 trainer.max_steps="
    folder = resumed_run(tmp_path / "run", ["KILLED"], attempt(f"{words}4"), attempt(f"{words}8 resume=/x"))
    with pytest.raises(UserError, match="resumed with other options after attempt 1, which ended before") as error:
        split_run(read_run(folder))
    assert f"1. python -m sr.run {words}4\n  2. python -m sr.run {words}8" in str(error.value)


def test_each_part_gets_its_own_patch(tmp_path: Path) -> None:
    """The first attempt was of clean source, so that the first patch is that of the second one."""
    clean, changed = attempt("trainer.max_steps=2"), attempt("trainer.max_steps=4 resume=/x")
    changed["git"]["dirty"] = "true"
    folder = resumed_run(tmp_path / "old", ["FINISHED"], clean, changed)
    (folder / "changes.patch").write_bytes(PATCH_OF_NEW_MODULE)
    assert [part.patch for part in split_run(read_run(folder)).parts] == [b"", PATCH_OF_NEW_MODULE]
    checksum = hashlib.sha256(PATCH_OF_NEW_MODULE).hexdigest()
    folder = resumed_run(
        tmp_path / "new", ["FINISHED"], clean | {"patch_sha256": None}, changed | {"patch_sha256": checksum}
    )
    (folder / "changes.patch").write_bytes(PATCH_OF_NEW_MODULE)
    assert [part.patch for part in split_run(read_run(folder)).parts] == [b"", PATCH_OF_NEW_MODULE]


# Code of others


def test_code_that_was_not_made_in_this_clone_needs_trust(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder may state anything; only the clone itself proves that the code ran from it before."""
    started: list[Any] = []
    monkeypatch.setattr("sr.reproduction.reproduction.repeat_run", lambda *run: started.append(run) or run[0].folder)
    (tree / "sr" / "net.py").write_text("width = 2\n")
    sha, patch = code.read_state(tree)["sha"], code.read_changes(tree).patch
    folder = run_folder(tmp_path / "run", environment_yaml=attempt("seed=0", sha) | {"folder": str(tree)})
    (folder / "changes.patch").write_bytes(patch)
    (folder / "run.json").write_text(json.dumps({"id": "1234567890", "folder": str(tree)}))
    torch.save({"state_dict": {"net.a": torch.ones(3)}}, folder / "last.ckpt")
    paths = {"runs": str(tmp_path), "data": None, "cache": None}
    options = {"dry": False, "force": False, "tolerance": 0.0, "repository": str(tree), "paths": paths}

    with pytest.raises(UserError, match=r"has not run from .* before: its changes.patch.*type trust=\[mine,patch\]"):
        Reproduction(LocatedRun(folder), trust=["mine"], **options).execute()
    assert "sr/net.py | 2 +-" in " ".join(capsys.readouterr().out.split())
    assert Reproduction(LocatedRun(folder), trust=[], **options | {"dry": True}).execute()
    assert "type trust=[patch]" in capsys.readouterr().out
    assert not started
    assert Reproduction(LocatedRun(folder), trust=["patch"], **options).execute()
    assert len(started) == 1

    code.record_code(tree, code.digest_code(sha, patch, []))  # as a run does that starts here
    assert Reproduction(LocatedRun(folder), trust=[], **options).execute()
    (folder / "changes.patch").write_bytes(patch.replace(b"width = 2", b"width = 3"))
    with pytest.raises(UserError, match="has not run from"):
        Reproduction(LocatedRun(folder), trust=[], **options).execute()
    assert git(tree, "status", "--porcelain").split() == ["M", "sr/net.py"]


@pytest.mark.parametrize("evil", ["evil", "/evil", "/c/../evil"])
def test_a_folder_of_code_outside_of_the_checkout_needs_trust_too(evil: str, tree: Path, tmp_path: Path) -> None:
    about = attempt("seed=0", parts=[evil, "/c/mine"]) | {"git": {"sha": code.read_state(tree)["sha"], "folder": "/c"}}
    folder = run_folder(tmp_path / "run", environment_yaml=about)
    assert read_run(folder).config_dirs_in_checkout == ["mine"]
    paths = {"runs": str(tmp_path), "data": None, "cache": None}
    options = {"dry": False, "force": False, "tolerance": 0.0, "repository": str(tree), "trust": [], "paths": paths}
    with pytest.raises(UserError, match=f"before: {evil}. Read it"):
        Reproduction(LocatedRun(folder), **options).execute()


def test_a_run_records_the_code_that_no_commit_has(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "find_checkout", lambda: tree)
    config = {"seed": 0, "paths": {}}
    collect_files("run", config, {}, [], torch.device("cpu"))
    assert not list((tree / ".git").glob("sr-runs"))  # a commit holds it all
    change_files(tree)
    files = collect_files("run", config, {}, [], torch.device("cpu"))
    environment = yaml.safe_load(files["environment.yaml"])
    assert environment["patch_sha256"] == hashlib.sha256(files["changes.patch"]).hexdigest()
    assert code.has_run_code(tree, code.digest_code(environment["git"]["sha"], files["changes.patch"], []))
