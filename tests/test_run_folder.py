"""A run's folder: made in one step with the options of the run, and never a way to write into other files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from sr.lifecycle.run_start import RunStart
from sr.lifecycle.tracked_run import TrackedRun
from sr.record import run_folder
from sr.record.identity import Identity, lock_run, read_identity, write_identity
from sr.record.journal_format import JOURNAL_FILE, encode_entry, read_entries
from sr.record.run_file import IrregularFileError, create_file, open_file, write_atomic
from sr.record.run_folder import CONFIG_FILE, OPTION_FILES, OVERRIDES_FILE, create_run_folder
from sr.runtime.error import UserError
from sr.track import cleanup
from sr.track.journal import Journal
from sr.track.sync import sync_runs
from sr.training.config_changes import find_changes
from sr.training.resume import expand_overrides, read_overrides, read_past_run

CONFIG = {"seed": 3, "scale": 2, "color": "rgb", "paths": {}}
TYPED = ["data=folder", "data.path=D", "trainer.max_steps=8"]
PRECIOUS = b"my thesis\n" * 100


def start(runs: Path, typed: list[str] = TYPED) -> RunStart:
    return RunStart("run", CONFIG | {"paths": {"runs": str(runs)}}, {"model": "cnn"}, typed, "a run")


def dead_run(runs: Path, name: str = "x") -> Path:
    """Make the folder of a run whose process was killed while it ran."""
    folder = create_run_folder(str(runs), name, {})
    write_identity(folder, Identity(host=os.uname().nodename, pid=2**22 + 1, attempts=1))
    return folder


class KilledError(BaseException):
    """Replaces SIGKILL: nothing runs after it that a kill would prevent."""


# One step makes a folder with its options.


@pytest.mark.parametrize("file", OPTION_FILES)
def test_a_kill_while_the_folder_is_made_leaves_no_run(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a folder that `sr.clean` removes; no command takes it for a run."""

    def write(path: Path, content: bytes) -> None:
        if path.name == file:
            raise KilledError
        write_atomic(path, content)

    monkeypatch.setattr(run_folder, "write_atomic", write)
    monkeypatch.setattr(run_folder.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KilledError):
        start(tmp_path).create_folder()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".new-")
    assert cleanup.find_leftovers(tmp_path, tmp_path / "cache", cleanup.KINDS, 0) == []
    os.utime(left, (0, 0))
    (row,) = cleanup.find_leftovers(tmp_path, tmp_path / "cache", cleanup.KINDS, 0)
    row.remove()
    assert not left.exists()


def test_a_run_that_was_killed_before_its_journal_has_its_options(tmp_path: Path) -> None:
    folder = start(tmp_path).create_folder()
    assert {path.name for path in folder.iterdir()} == set(OPTION_FILES)
    assert expand_overrides([f"resume={folder}"]) == [*TYPED, f'resume="{folder}"']
    assert yaml.safe_load((folder / CONFIG_FILE).read_text())["seed"] == 3
    assert [path for path in tmp_path.iterdir() if path != folder] == []


def test_a_run_that_never_began_is_removed_by_clean_and_a_starting_one_is_not(tmp_path: Path) -> None:
    folder = start(tmp_path).create_folder()
    assert cleanup.find_leftovers(tmp_path, tmp_path / "cache", ["failed"], 0) == []
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    (row,) = cleanup.find_leftovers(tmp_path, tmp_path / "cache", ["failed"], 0)
    assert row.what == f"{folder.name} (never began)"
    (folder / "last.ckpt").touch()
    assert cleanup.find_leftovers(tmp_path, tmp_path / "cache", ["failed"], 0) == []


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = {start(tmp_path, [f"seed={k}"]).create_folder() for k in range(4)}
    assert {read_overrides(folder)[0] for folder in folders} == {f"seed={k}" for k in range(4)}
    assert set(tmp_path.iterdir()) == folders


def test_the_folder_of_a_run_that_cannot_be_opened_is_removed(tmp_path: Path) -> None:
    class Refusing(Journal):
        def start(self, *_: Any) -> None:
            raise UserError("the tracker refuses")

    folder = start(tmp_path).create_folder()
    run = TrackedRun(start(tmp_path), Refusing(str(tmp_path)), folder)
    for resumed_step, remains in ((0, True), (None, False)):  # the folder of a run that was to be resumed stays
        with pytest.raises(UserError, match="refuses"), run.open(
            None, "edsr", {}, torch.device("cpu"), [], resumed_step):  # fmt: skip
            pass
        assert folder.exists() is remains


def test_a_folder_without_its_options_is_not_resumed(tmp_path: Path) -> None:
    """An older sr wrote them half a second after run.json; to resume such a run would be to guess its options."""
    folder = start(tmp_path).create_folder()
    (folder / CONFIG_FILE).unlink()
    with pytest.raises(UserError, match=r"expected the options of the run in its config\.yaml \(found .*No such file"):
        find_changes(folder, None, {}, [])
    (folder / OVERRIDES_FILE).unlink()
    write_identity(folder, Identity(status="KILLED", attempts=1, overrides=["seed=7", "data.path=my images"]))
    with pytest.raises(UserError) as refusal:
        expand_overrides([f"resume={folder}"])
    assert f"resume={folder}: expected the options that the run began with (overrides.yaml is" in str(refusal.value)
    assert "begin a new run: python -m sr.run seed=7 'data.path=my images'" in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 1000, "a: [", "\x00"])
def test_damaged_options_are_not_resumed(text: str, tmp_path: Path) -> None:
    folder = start(tmp_path).create_folder()
    (folder / OVERRIDES_FILE).write_text(text)
    with pytest.raises(UserError, match=r"its overrides\.yaml is damaged: expected a list of words"):
        expand_overrides([f"resume={folder}"])
    (folder / "last.ckpt").touch()
    assert expand_overrides(["resume=auto", f"paths.runs={tmp_path}"]) == [f"paths.runs={tmp_path}"]  # a new run
    (folder / OVERRIDES_FILE).write_text("[]")
    if text != "{}":
        (folder / CONFIG_FILE).write_text(text)
        with pytest.raises(UserError, match=r"expected the options of the run in its config\.yaml"):
            find_changes(folder, None, {}, [])


def test_an_option_that_changes_is_stored_before_the_run_goes_on(tmp_path: Path) -> None:
    """A kill after that, such as while MLflow is waited for, does not lose it; a running run keeps its own options."""

    class Killed(Journal):
        def start(self, *_: Any) -> None:
            raise KilledError

    folder = start(tmp_path).create_folder()
    changed = [*TYPED[:2], "trainer.max_steps=80"]
    run = TrackedRun(start(tmp_path, changed), Killed(str(tmp_path)), folder)
    lock = lock_run(folder)
    for expected in (TYPED, changed):
        with pytest.raises(KilledError), run.open(None, "edsr", {}, torch.device("cpu"), [], 40):
            pass
        assert read_overrides(folder) == expected
        lock.release()


# Nothing is written through a link.


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "thesis.tex"
    path.write_bytes(PRECIOUS)
    return path


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "symbolic": lambda path, victim: path.symlink_to(victim),
    "hard": lambda path, victim: os.link(victim, path),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("name", [JOURNAL_FILE, ".reserve", ".lock", "run.json", "summary.json", "environment.yaml"])
def test_no_command_writes_through_a_link(
    name: str, kind: str, tmp_path: Path, victim: Path, sr: Any, capfd: pytest.CaptureFixture
) -> None:
    """Neither one that names the run, nor one that only looks at all runs of the folder."""
    runs = tmp_path / "runs"
    folder = dead_run(runs)
    (folder / name).unlink(missing_ok=True)
    LINKS[kind](folder / name, victim)
    assert sr("clean", f"paths.runs={runs}", f"paths.cache={tmp_path}/cache").code == 0
    sync_runs([], str(runs))
    other = Journal(str(runs))
    other.start("a run", start(runs).create_folder(), {}, [], {})
    other.close("FINISHED")
    tracker = Journal(str(runs))
    try:
        tracker.start("a run", folder, {}, [], {"sr.verb": "run"})
        tracker.log_text("summary.json", "{}")
        tracker.log_image("panel", Image.new("RGB", (4, 4)), 1)
        tracker.close("FINISHED")
    except UserError as error:
        assert f"{folder / name}: expected a regular file" in str(error)
    assert victim.read_bytes() == PRECIOUS


def test_a_journal_that_is_a_link_is_named_by_every_command(tmp_path: Path, victim: Path, sr: Any) -> None:
    folder = dead_run(tmp_path / "runs")
    (folder / JOURNAL_FILE).symlink_to(victim)
    words = (f"paths.runs={tmp_path}/runs",)
    named = f"{folder / JOURNAL_FILE}: expected a regular file or folder of this run alone (found a symbolic link to"
    answer = sr("clean", *words, f"paths.cache={tmp_path}/cache", "days=0", "apply=true")
    assert (answer.code, folder.exists(), answer.err.count(named)) == (0, True, 2)  # its status, and why it stays
    assert "is marked as KILLED, but not in its journal" in answer.err
    assert f"{folder.name} (KILLED) stays" in answer.err
    answer = sr("sync", *words)
    assert (answer.code, f"{folder.name}: not sent: {named}" in answer.err) == (1, True)
    assert victim.read_bytes() == PRECIOUS


def test_panels_and_texts_are_not_written_into_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = start(tmp_path).create_folder()
    (folder / "crash").symlink_to(tmp_path / "elsewhere")
    tracker = Journal(str(tmp_path))
    tracker.start("a run", folder, {}, [], {})
    with pytest.raises(UserError, match="crash: expected a regular file or folder of this run alone"):
        tracker.log_text("crash/note.txt", "text")
    tracker.close("FINISHED")
    (folder / "panels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="panels: expected a regular file or folder of this run alone"):
        Journal(str(tmp_path)).start("a run", folder, {}, [], {})
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert read_identity(folder).attempts == 1


def test_a_journal_cannot_name_a_panel_elsewhere(tmp_path: Path, victim: Path) -> None:
    """An image that is drawn again after a kill replaces its old file, which a journal of somebody else named."""
    folder = start(tmp_path).create_folder()
    tracker = Journal(str(tmp_path))
    tracker.start("a run", folder, {}, [], {})
    tracker.close("KILLED")
    entry = {"image": "panel", "step": 5, "time": 1, "files": ["../thesis.tex", "panels/a.webp"]}
    with (folder / JOURNAL_FILE).open("ab") as file:
        file.write(encode_entry(entry))
    again = Journal(str(tmp_path))
    again.start("a run", folder, {}, [], {})
    again.rewind(4)
    again.log_image("panel", Image.new("RGB", (4, 4)), 5)
    again.close("FAILED")
    assert victim.read_bytes() == PRECIOUS
    assert [path.name for path in (folder / "panels").iterdir()] == ["panel step 5.png"]


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / JOURNAL_FILE)
    with pytest.raises(IrregularFileError, match="found no regular file"):
        list(read_entries(tmp_path / JOURNAL_FILE))
    with pytest.raises(IrregularFileError):
        open_file(Path("/dev/null"), os.O_RDWR)
    os.mkfifo(tmp_path / "run.json")
    assert read_identity(tmp_path) is None


def test_options_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    """By the search for the newest run either, which reads those of all."""
    folder = start(tmp_path).create_folder()
    for name in (CONFIG_FILE, OVERRIDES_FILE):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert read_past_run(folder).overrides is None
    with pytest.raises(UserError, match=r"in its config\.yaml \(found a FIFO"):
        find_changes(folder, None, {}, [])


def test_a_temporary_file_is_never_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "last.ckpt.4.part").symlink_to(victim)
    with create_file(tmp_path / "last.ckpt.4.part") as file:
        file.write(b"weights")
    (tmp_path / "best.link").symlink_to(victim)
    write_atomic(tmp_path / "best.link", "text")
    assert (tmp_path / "last.ckpt.4.part").read_bytes() == b"weights"
    assert (tmp_path / "best.link").read_text() == "text"
    assert victim.read_bytes() == PRECIOUS


def test_a_name_that_is_not_utf8_is_written(tmp_path: Path) -> None:
    """As JSON escapes it, so that it is read as it was."""
    name = os.fsdecode(b"caf\xe9")
    write_atomic(tmp_path / "a.json", json.dumps({"data": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text()) == {"data": name}
    (tmp_path / JOURNAL_FILE).write_bytes(encode_entry({"tag": "sr.folder", "value": name}))
    assert [placed.entry["value"] for placed in read_entries(tmp_path / JOURNAL_FILE)] == [name]
