"""`sr.predict` that is stopped and started again: the manifest `predict.json`, and what is recognized as finished."""

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from test_predict import create_work_folder, open_image, run_predict, save_checkpoint

from sr.net.plain import Plain
from sr.prediction.manifest import Manifest
from sr.runtime.error import UserError

Upscale = Callable[..., None]


@pytest.fixture
def upscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscale:
    """`upscale(input, output, overwrite=…)` in an empty working folder."""
    path = create_work_folder(tmp_path, monkeypatch)
    return lambda words="in", output="out", **options: run_predict(path, words, output, **options)


def write_images(*names: str) -> None:
    for k, name in enumerate(names):
        write_image(Path(name), 8, 6 + k)


def read_manifest(path: str = "out/predict.json") -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def list_states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of each result: a file that is written again has others."""
    files = (path for path in folder.rglob("*_x2.*"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_the_manifest_says_what_became_of_each_image(upscale: Upscale, tmp_path: Path) -> None:
    odd = os.fsdecode(b"100%\n \xff.png")
    write_images("in/a.jpg", f"in/deep/{odd}")
    Path("in/b.png").write_text("a letter")
    Path("in/notes.txt").touch()
    with pytest.raises(UserError, match=r"^1 of 3 images could not be upscaled"):
        upscale()
    manifest = read_manifest()
    first, second = manifest["images"]
    data = Path("out/a_x2.jpg").read_bytes()
    assert (first["target"], first["source"]) == ("a_x2.jpg", str(tmp_path / "work/in/a.jpg"))
    assert (first["width"], first["height"], first["frames"], first["bytes"]) == (12, 16, 1, len(data))
    assert first["sha256"] == hashlib.sha256(data).hexdigest()
    assert first["seconds"] >= 0
    assert second["target"] == f"deep/{odd[:-4]}_x2.png"
    reasons = {Path(entry["source"]).name: entry["reason"] for entry in manifest["left_out"]}
    assert reasons["notes.txt"] == "no image"
    assert "in/b.png: this is not an image" in reasons["b.png"]
    assert sorted(os.listdir("out")) == ["a_x2.jpg", "deep", "predict.json"]  # noqa: PTH208  no journal is left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["as SLURM does", "Ctrl-C"])
def test_an_interrupted_batch_goes_on_where_it_stopped(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, number: signal.Signals
) -> None:
    write_images("in/a.png", "in/b.png", "in/c.png")
    forward = Plain.forward

    def interrupt(net: Plain, x: Any) -> Any:
        if x.shape[-1] == 7:  # b.png
            signal.raise_signal(number)
        return forward(net, x)

    with monkeypatch.context() as patch:
        patch.setattr(Plain, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            upscale()
    assert "stopped: 1 of 3 images upscaled into out; the same command does the others" in capsys.readouterr().err
    states = list_states(Path("out"))
    assert list(states) == ["a_x2.png"]
    upscale()
    assert list_states(Path("out")).items() > states.items()
    out = capsys.readouterr().out
    assert out.startswith("2 images upscaled ×2 into out (")
    assert out.endswith("; 1 image finished before\n")
    upscale()
    assert capsys.readouterr().out == "3 images finished before\n"
    before = list_states(Path("out"))
    upscale(overwrite=True)
    assert not before.items() & list_states(Path("out")).items()


def test_a_result_of_something_else_is_not_taken_for_finished(upscale: Upscale) -> None:
    write_images("a.png", "b.png")
    upscale("a.png")
    exists = r"^output=out: a_x2\.png exists already; overwrite=true replaces it$"
    for options in ({"ensemble": True}, {"tile": 2}, {"overlap": 2}):
        with pytest.raises(UserError, match=exists):
            upscale("a.png", **options)
    upscale("a.png", format="png")  # as it is
    os.utime("a.png", (1, 1))
    upscale("b.png")
    with pytest.raises(UserError, match=exists):
        upscale(["a.png", "b.png"])
    with pytest.raises(
        UserError, match=r"^output=out: a_x2\.png, b_x2\.png exist already; overwrite=true replaces them$"
    ):
        upscale(["a.png", "b.png"], tile=2)
    upscale(["a.png", "b.png"], tile=2, overwrite=True)
    Path("out/b_x2.png").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"^output=out: b_x2\.png exists already"):
        upscale(["a.png", "b.png"], tile=2)


def test_what_a_killed_process_has_written_is_finished_and_the_rest_is_done_again(upscale: Upscale) -> None:
    """Between writing and noting a result it may be killed, too; its incomplete files are removed."""
    write_images("in/a.png", "in/b.png", "in/c.png", "in/d.png")
    upscale()
    entries = {image["target"]: image for image in read_manifest()["images"]}
    Path("out/predict.json").unlink()
    begun = [
        {"target": name, "digest": entry["digest"], "existed": name == "d_x2.png"} for name, entry in entries.items()
    ]
    journal = "\n".join(map(json.dumps, [*begun, entries["a_x2.png"]])) + '\n{"target": "e'  # in the middle of a line
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    Path("out", f".predict-{platform.node()}-{dead.pid}.jsonl").write_text(journal)
    Path("out/c_x2.png").write_bytes(Path("out/c_x2.png").read_bytes()[:90])  # after a power failure
    for name in (f".{'a1' * 16}.part", ".mine.part"):
        Path("out", name).write_text("half")
    before = list_states(Path("out"))
    upscale()
    after = list_states(Path("out"))
    assert {name for name in after if after[name] != before[name]} == {"c_x2.png", "d_x2.png"}
    files = [".mine.part", "a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png", "predict.json"]
    assert sorted(os.listdir("out")) == files  # noqa: PTH208
    noted = {image["target"]: image["sha256"] for image in read_manifest()["images"]}
    assert noted == {name: entry["sha256"] for name, entry in entries.items()}
    with pytest.raises(UserError, match=r"^output=out: a_x2\.png, b_x2\.png, c_x2\.png, d_x2\.png exist already"):
        upscale(tile=3)


def test_several_processes_write_to_one_folder(upscale: Upscale, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each adds its results, and none removes the journal of another one that is running."""
    write_images("a.png", "b.png")
    upscale("a.png")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", os.getppid)
        other = Manifest(Path("out"), False)
    other.record(Path("out/z_x2.png"), {"digest": "z", "bytes": 0})
    upscale("b.png")
    assert [image["target"] for image in read_manifest()["images"]] == ["a_x2.png", "b_x2.png"]
    other.close()
    assert [image["target"] for image in read_manifest()["images"]] == ["a_x2.png", "b_x2.png", "z_x2.png"]


def test_a_file_that_is_no_manifest_is_named_and_stays(upscale: Upscale) -> None:
    write_images("a.png")
    Path("out").mkdir()
    for content in ("{}", "[1]", "mine", '{"program": "other"}', '{"program": "sr.predict", "images": [1]}'):
        Path("out/predict.json").write_text(content)
        with pytest.raises(
            UserError, match=r"out/predict\.json: expected the manifest of sr\.predict .*rename or remove"
        ):
            upscale("a.png")
        assert Path("out/predict.json").read_text() == content


def test_a_folder_that_is_read_only_is_named(upscale: Upscale, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images("in/a.png")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UserError, match=r"^output=null: in: expected a folder that may be written to .*output=FOLDER$"):
        upscale("in", None)
    with pytest.raises(UserError, match=r"^output=out: expected a folder that may be written to .*read-only\)$"):
        upscale("in", "out")


def test_a_folder_that_cannot_be_created_is_named(upscale: Upscale) -> None:
    write_images("in/deep/a.png", "in/b.png", "out/deep.png")
    Path("out/deep.png").rename("out/deep")  # a file where a folder is needed
    with pytest.raises(UserError, match=r"^output=out/deep: cannot create this folder \(File exists\)$"):
        upscale()
    assert not Path("out/b_x2.png").exists()


def test_a_full_disk_ends_the_batch_and_costs_nothing_that_is_done(upscale: Upscale, tmp_path: Path) -> None:
    for k in range(9):
        noise = np.random.default_rng(k).integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save(f"{k}.png")  # each result has about 40 kB
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "disk"), "-o"]
    if subprocess.run([*mount, "size=200k"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets us mount no file system")
    try:
        out = tmp_path / "disk/out"
        with pytest.raises(
            UserError, match=r"No space left on device.*; \d of 9 images upscaled into .*when there is room"
        ):
            upscale("*.png", str(out))
        states = list_states(out)
        assert 2 <= len(states) <= 5
        assert not list(out.glob(".*.part"))
        subprocess.run([*mount, "remount,size=9m"], check=True)
        upscale("*.png", str(out))
        assert len(list_states(out)) == 9
        assert list_states(out).items() >= states.items()
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / "disk")], check=True)


@pytest.mark.slow
def test_200_images_killed_and_started_again(tmp_path: Path) -> None:
    """The results equal those of a batch that was not interrupted, and no finished image was upscaled again."""
    path = save_checkpoint(tmp_path / "best.ckpt")
    for k in range(200):
        write_image(tmp_path / f"in/{k % 3}/{k}.{('png', 'jpg', 'webp')[k % 3]}", 24 + k % 5, 32)
    words = (f"checkpoint={path}", f"input={tmp_path}/in", "device=cpu", "progress=false")
    command = [sys.executable, "-m", "sr.predict", *words, f"output={tmp_path}/out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list_states(tmp_path / "out")) < 40:
        time.sleep(0.005)
    process.kill()
    _, err = process.communicate(timeout=200)
    done = list_states(tmp_path / "out")
    assert (process.returncode, 40 <= len(done) < 200) == (-signal.SIGKILL, True), err
    assert "Traceback" not in err
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    states = list_states(tmp_path / "out")
    assert len(states) == 200
    assert states.items() > done.items()
    run_predict(path, str(tmp_path / "in"), str(tmp_path / "whole"))
    for file in (tmp_path / "whole").rglob("*_x2.*"):
        assert file.read_bytes() == (tmp_path / "out" / file.relative_to(tmp_path / "whole")).read_bytes(), file
    entries = json.loads((tmp_path / "out/predict.json").read_text())["images"]
    assert len(entries) == 200
    assert open_image(tmp_path / "out/0/0_x2.png").size == (64, 48)
    assert not list((tmp_path / "out").glob("*.jsonl"))
