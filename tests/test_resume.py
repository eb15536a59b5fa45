"""`resume=`: which run goes on, under which dials, and what is said where none can."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sr.record.checkpoint_files import RESUMABLE
from sr.record.identity import Identity, write_identity
from sr.runtime.error import UserError
from sr.training.resume import expand_overrides, is_intact

WORDS = (
    "data=folder", "data.patch=32", "data.batch=4", "model/net=plain", "model.net.width=4", "model/schedule=constant",
    "trainer.accelerator=cpu", "trainer.val_check_interval=2", "data.test=[]", "stages=[fit]",
)  # fmt: skip


@pytest.fixture
def run(sr: Any, world: Path) -> Callable[..., Any]:
    """Types a whole command, without a tracker."""
    return lambda *words: sr("run", *WORDS, "track=none", f"data.path={world}/photos", *words)


@pytest.fixture
def begun(run: Any, tmp_path: Path) -> Path:
    """The folder of a run of two steps."""
    assert run("trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def step(folder: Path, name: str = "last.ckpt") -> int:
    return torch.load(folder / name, weights_only=True)["global_step"]


def interrupted(folder: Path) -> None:
    """As if the process had been killed before its end was written down."""
    (folder / "summary.json").unlink()


def test_the_folder_is_all_that_is_typed(sr: Any, begun: Path) -> None:
    """The same folder, all dials as they were; what is typed now is told of, and stays for the next time."""
    answer = sr("run", f"resume={begun}", "trainer.max_steps=3")
    assert answer.code == 0, answer.err
    assert "resume: trainer.max_steps 2 -> 3" in answer.out
    assert list(begun.parent.iterdir()) == [begun]
    assert (step(begun), step(begun, "previous.ckpt")) == (3, 2)
    config = yaml.safe_load((begun / "config.yaml").read_text())
    assert (config["model"]["net"]["width"], config["trainer"]["max_steps"]) == (4, 3)
    interrupted(begun)
    assert sr("run", f"resume={begun}").code == 0
    assert step(begun) == 3


def test_a_finished_run_has_nothing_to_do(sr: Any, begun: Path) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    for words in ((), ("trainer.max_steps=1",)):
        answer = sr("run", f"resume={begun}", *words)
        assert (answer.code, "this run has finished, with 2 steps" in answer.out) == (0, True)
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_run_is_found_by_its_ids(sr: Any, run: Any, tmp_path: Path) -> None:
    assert run("track=journal", "trainer.max_steps=2").code == 0
    (folder,) = (tmp_path / "runs").glob("*_*")
    known = json.loads((folder / "run.json").read_text())
    for wanted in (known["id"], known["id"][:10], folder.name):
        answer = sr("run", f"resume={wanted}", "trainer.max_steps=2")
        assert (answer.code, f"resume={folder}: this run has finished" in answer.out) == (0, True), answer.err
    answer = sr("run", "resume=0123456789")
    assert (answer.code, "resume=0123456789: expected a run's folder or its id" in answer.err) == (2, True)


def test_the_same_run_goes_on_in_the_tracker(sr: Any, run: Any, tmp_path: Path) -> None:
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


def test_what_nobody_typed_must_not_change(sr: Any, begun: Path) -> None:
    """An edited file in conf/ is told from what was typed, which is all that may change."""
    interrupted(begun)
    config = yaml.safe_load((begun / "config.yaml").read_text())
    config["model"]["ema"], config["data"]["repeat"] = 0.5, 8
    config["paths"]["data"] = config["data"]["root"] = "elsewhere"
    (begun / "config.yaml").write_text(yaml.safe_dump(config))
    answer = sr("run", f"resume={begun}", "trainer.max_steps=3")
    assert answer.code == 2
    assert "model.ema 0.5 -> 0.999" in answer.err
    assert "data.repeat 8 -> 16" in answer.err
    assert "elsewhere" not in answer.err
    answer = sr("run", f"resume={begun}", "trainer.max_steps=3", "model.ema=0.5", "data.repeat=16")
    assert answer.code == 0, answer.err
    assert "resume: data.repeat 8 -> 16" in answer.out
    assert "model.ema" not in answer.out


def test_what_is_in_the_checkpoint_cannot_be_changed(sr: Any, begun: Path) -> None:
    answer = sr("run", f"resume={begun}", "trainer.max_steps=3", "model.optimizer.lr=0.5")
    assert answer.code == 2
    assert "model.optimizer.lr 0.001 -> 0.5" in answer.err
    assert f"model.init={begun}" in answer.err


@pytest.mark.slow
def test_auto_goes_on_or_begins(run: Any, sr: Any, begun: Path) -> None:
    """By the same words, in whatever order; not with a finished run."""
    words = ("resume=auto", "trainer.max_steps=2")
    interrupted(begun)
    (begun / "last.ckpt").rename(begun / "kept")
    answer = run(*words)
    assert (answer.code, "so a new run begins" in answer.out) == (0, True), answer.err
    other = max(set(begun.parent.iterdir()) - {begun})
    (begun / "kept").rename(begun / "last.ckpt")
    answer = run(*reversed(words))
    assert (answer.code, f"resume=auto: resuming {begun}" in answer.out) == (0, True), answer.err
    assert len(list(begun.parent.iterdir())) == 2
    interrupted(other)
    assert "so a new run begins" in run(*words, "seed=1").out


@pytest.mark.slow
def test_a_tracked_run_stays_one(sr: Any, run: Any, tmp_path: Path) -> None:
    """And another tracker is chosen without the dials of the one before."""
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


def written(folder: Path, typed: list[str], **known: Any) -> Path:
    """A run's folder, as far as `resume` reads it."""
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(typed, allow_unicode=True))
    torch.save({}, folder / "last.ckpt")
    (folder / "run.json").write_text(json.dumps({"status": "KILLED", **known}))
    return folder


def test_auto_knows_a_run_by_words_with_a_password(tmp_path: Path) -> None:
    folder = written(tmp_path / "1_a", ["track.uri=https://me:…@host", f"paths.runs={tmp_path}"])
    words = ["track.uri=https://me:secret@host", f"paths.runs={tmp_path}"]
    assert expand_overrides(["resume=auto", *words]) == [*words, f'resume="{folder}"']


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["-m", "seed=0,1"], {}, "resume=auto: -m makes several runs"),
        ([], {"WORLD_SIZE": "2", "RANK": "1"}, "each of the 2 processes that torchrun or srun has started"),
    ],
)
def test_auto_is_for_one_run_and_one_process(
    words: list[str], variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        expand_overrides(["resume=auto", *words])


def test_the_other_processes_of_a_training_find_its_folder_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Identity()
    folder = written(tmp_path / "it's one", ["seed=3"])
    mine.claim()
    write_identity(folder, mine)
    with pytest.raises(UserError, match="this run is still running"):
        expand_overrides([f"resume={folder}"])
    monkeypatch.setenv("RANK", "1")
    words = expand_overrides([f"resume={folder}"])
    assert words == ["seed=3", f'resume="{folder}"']
    assert expand_overrides(words) == words  # as the others of a training on several devices are started


def test_an_evaluation_is_no_training(tmp_path: Path) -> None:
    folder = written(tmp_path / "1_a", [], verb="evaluate")
    with pytest.raises(UserError, match=r"expected a training \(found a run of sr\.evaluate"):
        expand_overrides([f"resume={folder}"])


@pytest.mark.slow
def test_a_torn_file_is_told_of_and_the_one_before_is_taken(sr: Any, run: Any, tmp_path: Path) -> None:
    assert run("trainer.max_steps=4").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    interrupted(folder)
    whole = (folder / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    answer = sr("run", f"resume={folder}")
    assert answer.code == 0, answer.err
    assert "last.ckpt is truncated or damaged, so the one before it is used" in answer.err
    assert step(folder) == 4
    assert is_intact(folder / "last.ckpt")
    for name in RESUMABLE:
        (folder / name).write_bytes(whole[:1000])
    interrupted(folder)
    answer = sr("run", f"resume={folder}")
    assert (answer.code, "expected an intact checkpoint" in answer.err) == (2, True)


def test_one_changed_byte_is_seen(begun: Path) -> None:
    content = bytearray((begun / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (begun / "last.ckpt").write_bytes(content)
    assert not is_intact(begun / "last.ckpt")


def test_what_patience_has_ended_does_not_train_on(sr: Any, run: Any, tmp_path: Path) -> None:
    """Its process was killed while it tested."""
    assert run("trainer.max_steps=20", "patience=1", "model.optimizer.lr=0", "model.ema=null").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    interrupted(folder)
    answer = sr("run", f"resume={folder}", "stages=[fit,test]", "data.test=[folder]")
    assert (answer.code, step(folder), "test/folder" in answer.out) == (0, 4, True), answer.err


@pytest.mark.slow
def test_a_new_run_takes_over_no_best_of_later_steps(run: Any, begun: Path) -> None:
    """From the first of two files, where the second is the best one: its place is given anew."""
    early = begun.rename(begun.with_name("early"))
    assert run("trainer.max_steps=6").code == 0
    (later,) = set(early.parent.iterdir()) - {early}
    (early / "best.ckpt").unlink()  # the same file as last.ckpt
    (early / "best.ckpt").write_bytes((later / "best.ckpt").read_bytes())
    assert step(early, "best.ckpt") > 2
    assert run("trainer.max_steps=4", f"resume={early}/last.ckpt").code == 0
    (new,) = set(early.parent.iterdir()) - {early, later}
    assert step(new, "best.ckpt") == 4


def test_a_strangers_overrides_are_no_commands(sr: Any, begun: Path) -> None:
    for word in ("--config-dir=evil", "hydra.run.dir=/", "+hydra/callbacks=x"):
        (begun / "overrides.yaml").write_text(yaml.safe_dump([word]))
        answer = sr("run", f"resume={begun}")
        assert (answer.code, "was not written by sr" in answer.err) == (2, True)
    (begun / "overrides.yaml").write_text(yaml.safe_dump([*WORDS, "+model.alarm.x._target_=os.system"]))
    answer = sr("run", f"resume={begun}")
    assert (answer.code, "os.system" in answer.err) == (2, True)


def test_a_strangers_folder_does_not_trust_itself(sr: Any, begun: Path, tmp_path: Path) -> None:
    """What it wants to have built is built only where that is typed, again also by who began the run."""
    (tmp_path / "secret").write_text("x")
    wanted = [f"+model.alarm.x.{key}={value}" for key, value in
              (("_target_", "shutil.copyfile"), ("src", tmp_path / "secret"), ("dst", tmp_path / "copied"))]  # fmt: skip
    for trusting in ("trust=[shutil]", " ++trust =[shutil]"):
        (begun / "overrides.yaml").write_text(yaml.safe_dump([*WORDS, trusting, *wanted]))
        answer = sr("run", f"resume={begun}", "trainer.max_steps=3")
        assert answer.code == 2, trusting
        assert "model.alarm.x is shutil.copyfile, which is no part of sr" in answer.err
        assert "if you trust it, type trust=[shutil]" in answer.err
        assert not (tmp_path / "copied").exists()
    answer = sr("run", f"resume={begun}", "trainer.max_steps=3", "trust=[shutil]")
    assert "is no part of sr" not in answer.err
    assert "model.alarm.x._target_ (none) -> shutil.copyfile" in answer.err  # trusted, but of no dial that this run had


def test_a_full_disk_leaves_the_last_file_whole(
    run: Any, sr: Any, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sr.callback import checkpointing

    def full(content: Any, file: Any) -> None:
        file.write(b"x")
        raise OSError(28, "No space left on device")

    interrupted(begun)
    monkeypatch.setattr(checkpointing, "write_checkpoint", full)
    answer = sr("run", f"resume={begun}", "trainer.max_steps=4")
    assert answer.code == 2
    assert (
        f"{begun}/last.ckpt: the checkpoint of step 4 cannot be written (No space left on device); the one before it is intact"
        in answer.err
    )
    assert step(begun) == 2
    assert not list(begun.glob("*.part"))
