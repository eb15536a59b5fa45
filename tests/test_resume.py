"""`resume=`: which run is resumed, with which options, and the errors if none can be."""

import json
import multiprocessing
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sr.record.checkpoint_files import RESUMABLE
from sr.record.identity import Identity, write_identity
from sr.runtime.error import UserError
from sr.runtime.launch import find_free_port
from sr.training.resume import expand_overrides, is_intact

WORDS = (
    "data=folder", "data.patch=32", "data.batch=4", "model/net=plain", "model.net.width=4", "model/schedule=constant",
    "trainer.accelerator=cpu", "trainer.val_check_interval=2", "data.test=[]", "stages=[fit]",
)  # fmt: skip


@pytest.fixture
def run(sr: Any, world: Path) -> Callable[..., Any]:
    """Return a function that runs a complete command line, without a tracker."""
    return lambda *words: sr("run", *WORDS, "track=none", f"data.path={world}/photos", *words)


@pytest.fixture
def finished_run(run: Any, tmp_path: Path) -> Path:
    """Train two steps and return the folder of the run."""
    assert run("trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def step(folder: Path, name: str = "last.ckpt") -> int:
    return torch.load(folder / name, weights_only=True)["global_step"]


def mark_interrupted(folder: Path) -> None:
    """Make a run look as if its process had been killed before its end."""
    (folder / "summary.json").unlink()


def test_folder_alone_resumes_a_run(sr: Any, finished_run: Path) -> None:
    """The run continues in its folder with its options; a changed option is reported, and stored for the next time."""
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3")
    assert answer.code == 0, answer.err
    assert "resume: trainer.max_steps 2 -> 3" in answer.out
    assert list(finished_run.parent.iterdir()) == [finished_run]
    assert (step(finished_run), step(finished_run, "previous.ckpt")) == (3, 2)
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert (config["model"]["net"]["width"], config["trainer"]["max_steps"]) == (4, 3)
    mark_interrupted(finished_run)
    assert sr("run", f"resume={finished_run}").code == 0
    assert step(finished_run) == 3


def test_finished_run_has_nothing_to_do(sr: Any, finished_run: Path) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    for words in ((), ("trainer.max_steps=1",)):
        answer = sr("run", f"resume={finished_run}", *words)
        assert (answer.code, "this run has finished, with 2 steps" in answer.out) == (0, True)
    assert {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_run_is_found_by_its_ids(sr: Any, run: Any, tmp_path: Path) -> None:
    assert run("track=journal", "trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").glob("*_*")
    known = json.loads((folder / "run.json").read_text())
    for wanted in (known["id"], known["id"][:10], folder.name):
        answer = sr("run", f"resume={wanted}", "trainer.max_steps=2")
        assert (answer.code, f"resume={folder}: this run has finished" in answer.out) == (0, True), answer.err
    answer = sr("run", "resume=0123456789")
    assert (answer.code, "resume=0123456789: expected a run's folder or its id" in answer.err) == (2, True)


def test_resumed_run_continues_in_the_tracker(sr: Any, run: Any, tmp_path: Path) -> None:
    from sr.record.journal_format import JOURNAL_FILE, list_points, read_entries

    assert run("track=journal", "trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").glob("*_*")
    first = json.loads((folder / "run.json").read_text())
    assert sr("run", f"resume={folder}", "trainer.max_steps=4").code == 0
    second = json.loads((folder / "run.json").read_text())
    assert (second["id"], second["attempts"], second["status"]) == (first["id"], 2, "FINISHED")
    steps = [step for name, step, _ in list_points(folder) if name.startswith("val/") and name.endswith("/psnr")]
    assert steps == [0, 2, 4]
    tags = {entry["tag"]: entry["value"] for _, _, entry in read_entries(folder / JOURNAL_FILE) if "tag" in entry}
    assert tags["sr.resume.changed"] == "trainer.max_steps 2 -> 4"


def test_options_change_only_if_they_are_typed(sr: Any, finished_run: Path) -> None:
    """An edited file in conf/ is an error, a typed option is not."""
    mark_interrupted(finished_run)
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    config["model"]["ema"], config["data"]["repeat"] = 0.5, 8
    config["paths"]["data"] = config["data"]["root"] = "elsewhere"
    (finished_run / "config.yaml").write_text(yaml.safe_dump(config))
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3")
    assert answer.code == 2
    assert "model.ema 0.5 -> 0.999" in answer.err
    assert "data.repeat 8 -> 16" in answer.err
    assert "elsewhere" not in answer.err
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3", "model.ema=0.5", "data.repeat=16")
    assert answer.code == 0, answer.err
    assert "resume: data.repeat 8 -> 16" in answer.out
    assert "model.ema" not in answer.out


def test_options_that_the_checkpoint_holds_cannot_change(sr: Any, finished_run: Path) -> None:
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3", "model.optimizer.lr=0.5")
    assert answer.code == 2
    assert "model.optimizer.lr 0.001 -> 0.5" in answer.err
    assert f"model.init={finished_run}" in answer.err


@pytest.mark.slow
def test_auto_resumes_a_run_or_begins_one(run: Any, sr: Any, finished_run: Path) -> None:
    """It resumes a run of the same overrides in any order, and no finished one."""
    words = ("resume=auto", "trainer.max_steps=2")
    mark_interrupted(finished_run)
    (finished_run / "last.ckpt").rename(finished_run / "hidden")
    answer = run(*words)
    assert (answer.code, "so a new run begins" in answer.out) == (0, True), answer.err
    other = max(set(finished_run.parent.iterdir()) - {finished_run})
    (finished_run / "hidden").rename(finished_run / "last.ckpt")
    answer = run(*reversed(words))
    assert (answer.code, f"resume=auto: resuming {finished_run}" in answer.out) == (0, True), answer.err
    assert len(list(finished_run.parent.iterdir())) == 2
    mark_interrupted(other)
    assert "so a new run begins" in run(*words, "seed=1").out


@pytest.mark.slow
def test_tracked_run_stays_tracked(sr: Any, run: Any, tmp_path: Path) -> None:
    """Another tracker is used without the options of the one before."""
    uri = f"track.uri=sqlite:///{tmp_path}/own.db"
    assert run("track=mlflow", uri, "trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").glob("*_*")
    before = (folder / "run.json").read_text()
    answer = sr("run", f"resume={folder}", "trainer.max_steps=3", "track=none")
    assert answer.code == 2
    assert "a tracked run cannot be resumed with track=none; type track=journal" in answer.err
    assert ((folder / "run.json").read_text(), step(folder)) == (before, 2)
    answer = sr("run", f"resume={folder}", "trainer.max_steps=3", "track=journal")
    assert answer.code == 0, answer.err
    assert json.loads((folder / "run.json").read_text())["attempts"] == 2


def write_run(folder: Path, overrides: list[str], **identity: Any) -> Path:
    """Write the files of a run that `resume` reads, and return the folder."""
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides, allow_unicode=True))
    torch.save({}, folder / "last.ckpt")
    (folder / "run.json").write_text(json.dumps({"status": "KILLED", **identity}))
    return folder


def test_auto_finds_a_run_whose_overrides_had_a_password(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1_a", ["track.uri=https://me:…@host", f"paths.runs={tmp_path}"])
    words = ["track.uri=https://me:secret@host", f"paths.runs={tmp_path}"]
    assert expand_overrides(["resume=auto", *words]) == [*words, f'resume="{folder}"']


def test_auto_takes_the_newest_run_that_is_neither_finished_nor_running(tmp_path: Path) -> None:
    runs = f"paths.runs={tmp_path}"
    for name, seed, status in (
        ("1_a", 0, "KILLED"),
        ("2_b", 1, "FINISHED"),
        ("3_c", 0, "KILLED"),
        ("4_d", 2, "KILLED"),
    ):
        write_run(tmp_path / name, [f"seed={seed}", runs, "resume=x"], status=status)
    alive = Identity()
    alive.claim()
    write_identity(write_run(tmp_path / "5_e", ["seed=0", runs]), alive)
    found = [expand_overrides([f"seed={seed}", runs, "resume=auto"])[-1] for seed in (0, 1, 3)]
    assert found == [f'resume="{tmp_path / "3_c"}"', runs, runs]


@pytest.mark.slow
def test_each_trial_of_a_sweep_resumes_its_own_run(run: Any, tmp_path: Path) -> None:
    """Also if the sweep itself is not known here any more."""
    words = ("-m", "seed=1,2", "trainer.max_steps=2", "resume=auto")
    assert run(*words).code == 0
    first, second = sorted(path.parent for path in (tmp_path / "runs").glob("*/last.ckpt"))
    mark_interrupted(first)
    mark_interrupted(second)
    shutil.rmtree(tmp_path / "runs" / "sweeps")
    answer = run(*words)
    assert answer.code == 0, answer.err
    assert sorted(path.parent for path in (tmp_path / "runs").glob("*/last.ckpt")) == [first, second]
    for folder in (first, second):
        assert json.loads((folder / "summary.json").read_text())["status"] == "FINISHED"


def search(rank: int, port: int, folder: Path, runs: Path) -> None:
    """Search for the run as process `rank` of two that torchrun has started; write down what it found."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.pop("LOCAL_RANK", None)
    if rank:  # the first process has opened the run already when this one begins to search
        identity = Identity()
        identity.claim()
        write_identity(folder, identity)
    (runs / f"found {rank}").write_text(expand_overrides(["seed=0", f"paths.runs={runs}", "resume=auto"])[-1])


@pytest.mark.slow(1)
def test_all_processes_that_torchrun_has_started_resume_the_same_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1_a", ["seed=0", f"paths.runs={tmp_path}"])
    context, port = multiprocessing.get_context("fork"), find_free_port()
    processes = [context.Process(target=search, args=(rank, port, folder, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
        time.sleep(0.5)
    for process in processes:
        process.join(60)
    assert [(tmp_path / f"found {rank}").read_text() for rank in (0, 1)] == [f'resume="{folder}"'] * 2


def test_other_processes_of_a_training_may_resume_a_running_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity()
    folder = write_run(tmp_path / "it's one", ["seed=3"])
    identity.claim()
    write_identity(folder, identity)
    with pytest.raises(UserError, match="this run is still running"):
        expand_overrides([f"resume={folder}"])
    monkeypatch.setenv("RANK", "1")
    words = expand_overrides([f"resume={folder}"])
    assert words == ["seed=3", f'resume="{folder}"']
    assert expand_overrides(words) == words  # as the others of a training on several devices are started


def test_evaluation_cannot_be_resumed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "1_a", [], verb="evaluate")
    with pytest.raises(UserError, match=r"expected a training \(found a run of sr\.evaluate"):
        expand_overrides([f"resume={folder}"])


@pytest.mark.slow
def test_truncated_checkpoint_is_reported_and_the_one_before_used(sr: Any, run: Any, tmp_path: Path) -> None:
    assert run("trainer.max_steps=4").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    mark_interrupted(folder)
    whole = (folder / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    answer = sr("run", f"resume={folder}")
    assert answer.code == 0, answer.err
    assert "last.ckpt is truncated or damaged, so the one before it is used" in answer.err
    assert step(folder) == 4
    assert is_intact(folder / "last.ckpt")
    for name in RESUMABLE:
        (folder / name).write_bytes(whole[:1000])
    mark_interrupted(folder)
    answer = sr("run", f"resume={folder}")
    assert (answer.code, "expected an intact checkpoint" in answer.err) == (2, True)


def test_one_changed_byte_makes_a_checkpoint_damaged(finished_run: Path) -> None:
    content = bytearray((finished_run / "last.ckpt").read_bytes())
    with zipfile.ZipFile(finished_run / "last.ckpt") as archive:  # between its entries there is padding
        entry = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    content[content.index(entry) + len(entry) // 2] ^= 1
    (finished_run / "last.ckpt").write_bytes(content)
    assert not is_intact(finished_run / "last.ckpt")


def test_run_that_patience_has_stopped_only_tests(sr: Any, run: Any, tmp_path: Path) -> None:
    """The process was killed during the test."""
    assert run("trainer.max_steps=20", "patience=1", "model.optimizer.lr=0", "model.ema=null").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    mark_interrupted(folder)
    answer = sr("run", f"resume={folder}", "stages=[fit,test]", "data.test=[folder]")
    assert (answer.code, step(folder), "test/folder" in answer.out) == (0, 4, True), answer.err


@pytest.mark.slow
def test_new_run_takes_over_no_best_checkpoint_of_a_later_step(run: Any, finished_run: Path) -> None:
    """The new run starts before the step of the best checkpoint, and selects a best one of its own."""
    early = finished_run.rename(finished_run.with_name("early"))
    assert run("trainer.max_steps=6").code == 0
    (later,) = set(early.parent.iterdir()) - {early}
    (early / "best.ckpt").unlink()  # the same file as last.ckpt
    (early / "best.ckpt").write_bytes((later / "best.ckpt").read_bytes())
    assert step(early, "best.ckpt") > 2
    assert run("trainer.max_steps=4", f"resume={early}/last.ckpt").code == 0
    (new,) = set(early.parent.iterdir()) - {early, later}
    assert step(new, "best.ckpt") == 4


def test_overrides_of_a_foreign_folder_cannot_set_flags_or_hydra_options(sr: Any, finished_run: Path) -> None:
    for word in ("--config-dir=evil", "hydra.run.dir=/", "+hydra/callbacks=x"):
        (finished_run / "overrides.yaml").write_text(yaml.safe_dump([word]))
        answer = sr("run", f"resume={finished_run}")
        assert (answer.code, "was not written by sr" in answer.err) == (2, True)
    (finished_run / "overrides.yaml").write_text(yaml.safe_dump([*WORDS, "+model.alarm.x._target_=os.system"]))
    answer = sr("run", f"resume={finished_run}")
    assert (answer.code, "os.system" in answer.err) == (2, True)


def test_foreign_folder_cannot_say_that_it_is_trusted(sr: Any, finished_run: Path, tmp_path: Path) -> None:
    """A class from outside sr is built only if the command line trusts it, also in a resumed run."""
    (tmp_path / "secret").write_text("x")
    wanted = [f"+model.alarm.x.{key}={value}" for key, value in
              (("_target_", "shutil.copyfile"), ("src", tmp_path / "secret"), ("dst", tmp_path / "copied"))]  # fmt: skip
    for trusting in ("trust=[shutil]", " ++trust =[shutil]"):
        (finished_run / "overrides.yaml").write_text(yaml.safe_dump([*WORDS, trusting, *wanted]))
        answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3")
        assert answer.code == 2, trusting
        assert "model.alarm.x is shutil.copyfile, which is no part of sr" in answer.err
        assert "if you trust it, type trust=[shutil]" in answer.err
        assert not (tmp_path / "copied").exists()
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=3", "trust=[shutil]")
    assert "is no part of sr" not in answer.err
    assert "model.alarm.x._target_ (none) -> shutil.copyfile" in answer.err  # trusted, but this run had no such option


def test_full_disk_leaves_the_last_checkpoint_intact(
    run: Any, sr: Any, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sr.callback import checkpointing

    def full(content: Any, file: Any) -> None:
        file.write(b"x")
        raise OSError(28, "No space left on device")

    mark_interrupted(finished_run)
    monkeypatch.setattr(checkpointing, "write_checkpoint", full)
    answer = sr("run", f"resume={finished_run}", "trainer.max_steps=4")
    assert answer.code == 2
    message = "the checkpoint of step 4 cannot be written (No space left on device); the one before it is intact"
    assert f"{finished_run}/last.ckpt: {message}" in answer.err
    assert step(finished_run) == 2
    assert not list(finished_run.glob("*.part"))
