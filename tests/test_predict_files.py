"""`sr.predict` on real files: what `input` and `output` may name, odd images in a batch, interruption, memory."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from test_predict import open_image, save_checkpoint

from sr.image.write import to_pil, write_png
from sr.inference.complexity import Meter
from sr.net.plain import Plain
from sr.prediction import api, files
from sr.prediction.api import load, upscale_pixels
from sr.prediction.files import upscale_files
from sr.runtime.error import UserError

Upscale = Callable[..., None]


@pytest.fixture
def upscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscale:
    """`upscale(input, output, overwrite=…)` in an empty working folder."""
    path = save_checkpoint(tmp_path / "best.ckpt")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def command(input: Any = "a.png", output: Any = "out", overwrite: bool = False, **options: Any) -> None:
        upscale_files(str(path), input, output, overwrite, "cpu", [], **options)

    return command


def write_images(*names: str) -> None:
    for name in names:
        write_image(Path(name), 8, 6)


def list_files(folder: str = ".") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# input and output


def test_a_png_name_is_the_file_of_a_single_image(upscale: Upscale) -> None:
    write_images("a.png", "b.png", "in/c.jpg")
    upscale("a.png", "big.png")
    upscale("in", "new/BIG.PNG")  # a folder with one image
    assert open_image(Path("big.png")).size == open_image(Path("new/BIG.PNG")).size == (12, 16)
    with pytest.raises(UserError, match=r"^output=two\.png: expected a folder for 2 images .*output=two\.png/"):
        upscale(["a.png", "b.png"], "two.png")
    with pytest.raises(UserError, match=r"^output=big\.jpg: expected a \.png file or a folder"):
        upscale("a.png", "big.jpg")
    with pytest.raises(UserError, match=r"^output=a\.png: expected another file than input=a\.png"):
        upscale("a.png", "a.png", overwrite=True)
    assert not {path.name for path in Path().iterdir()} & {"two.png", "big.jpg"}


def test_a_folder_may_be_called_as_an_image(upscale: Upscale) -> None:
    write_images("x.png/a.png", "x.png/b.png")
    Path("y.png").mkdir()
    upscale("x.png", "y.png")
    upscale("x.png/a.png", "z.png/")
    assert list_files("y.png") == ["a_x2.png", "b_x2.png"]
    assert list_files("z.png") == ["a_x2.png"]


def test_lists_and_patterns_are_inputs(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    write_images("a.png", "b.jpg", "in/c.png", "in/d.png", "in/deep/e.png", "[scan] 01.png", "1.png")
    Path("in/notes.txt").touch()
    upscale(["a.png", "b.jpg", "in/*", "a.png"])
    assert "note: input=in/*: left out: 1 of 3 files (1 .txt), 1 folder with 1 image\n" in capsys.readouterr().err
    assert list_files("out") == ["a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png"]
    upscale("in/**/*.png", "out2")
    assert list_files("out2") == ["c_x2.png", "d_x2.png", "e_x2.png"]
    upscale("[scan] 01.png", "out3")  # a file of this name is no pattern
    assert list_files("out3") == ["[scan] 01_x2.png"]
    with pytest.raises(UserError, match=r"^input=\*\.webp: no image matches this pattern$"):
        upscale("*.webp", "out4")
    with pytest.raises(
        UserError, match=r"a\.png and a\.png would both|in2/a\.png and a\.png would both|a\.png and in2/a"
    ):
        write_images("in2/a.png")
        upscale(["a.png", "in2"], "out4")
    assert not Path("out4").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("input=", "output=out"), "input=: expected a path"), (("input=null", "output=out"), "input=null: expected a path"),
        (("input=[a.png,null]", "output=out"), "input"), (("input=[]", "output=out"), "input=[]: expected an image file"),
        (("input=a.png", "output="), "output=: expected a path"), (("input=a.png", "output=null"), "output=null: expected"),
    ],
)  # fmt: skip
def test_what_is_no_path_is_named(upscale: Upscale, sr: Any, words: tuple[str, ...], message: str) -> None:
    write_images("a.png")
    before = list_files()
    answer = sr("predict", "checkpoint=best.ckpt", "device=cpu", *words)
    assert answer.code == 2
    assert answer.err.count("error: ") == 1
    assert f"error: {message}" in answer.err
    assert list_files() == before


def test_a_number_is_the_name_of_a_file(upscale: Upscale, sr: Any) -> None:
    write_images("a.png")
    Path("a.png").rename("007")
    assert sr("predict", "checkpoint=best.ckpt", "device=cpu", "input=007", "output=8").code == 0
    assert list_files("8") == ["007_x2.png"]


def test_nothing_is_created_before_the_input_is_found(upscale: Upscale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "load", lambda *_: pytest.fail("the net was loaded first"))
    for name in ("typo.png", "typo", "n" * 300):
        with pytest.raises(UserError, match=f"^input={name}: there is no such file or folder"):
            upscale(name)
    Path("file").touch()
    write_images("a.png")
    with pytest.raises(UserError, match=r"^output=file: expected a folder.*\(found another file\)"):
        upscale("a.png", "file")
    assert list_files() == ["a.png", "file"]


def test_the_end_says_how_many_where_size_and_seconds(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    write_images("a.png", "b.png")
    upscale("a.png", "one.png")
    size = Path("one.png").stat().st_size
    assert capsys.readouterr().out == f"1 image upscaled ×2 into one.png (12×16, {size} bytes) in 0.0 s\n"
    upscale(["a.png", "b.png"])
    assert capsys.readouterr().out.startswith("2 images upscaled ×2 into out (")


def test_what_is_not_preserved_is_said_once(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    write_images("a.png", "b.png", "c.png")
    for name in ("a", "b"):
        open_image(Path(f"{name}.png")).save(f"{name}.png", dpi=(300, 300))
    upscale(["a.png", "b.png", "c.png"])
    assert capsys.readouterr().err.count("note: not in the results: resolution (300 DPI) of 2 images\n") == 1
    upscale("out/c_x2.png", "again")  # our own mark is no loss
    assert "not in the results" not in capsys.readouterr().err


# a batch with odd images


def test_any_exception_of_an_image_is_named_once_and_the_rest_is_done(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_images("in/a.png", "in/b.png", "in/c.png", "in/d.png")
    Path("in/d.png").write_text("a letter")
    read = files.read_image

    def fail(path: Path) -> Any:
        return {}["tag"] if path.name == "b.png" else read(path)

    monkeypatch.setattr(files, "read_image", fail)
    with pytest.raises(UserError, match=r"^2 of 4 images could not be upscaled, see above; the others are in out \("):
        upscale("in")
    err = capsys.readouterr().err
    assert err.count("b.png") == err.count("d.png") == 1
    assert "in/b.png: cannot be upscaled (KeyError: 'tag')" in err
    assert list_files("out") == ["a_x2.png", "c_x2.png"]
    with pytest.raises(UserError, match=r"^in/b\.png: cannot be upscaled"):
        upscale("in/b.png")


@pytest.mark.parametrize("length", [243, 245, 251])
def test_a_long_name_is_written_or_named(upscale: Upscale, length: int, capsys: pytest.CaptureFixture) -> None:
    """A name of 255 bytes is the longest; `_x2.png` is appended to the stem."""
    long = "n" * length
    write_images("in/ok.png", f"in/{long}.png")
    if length + len("_x2.png") <= 255:
        upscale("in")
        assert list_files("out") == [f"{long}_x2.png", "ok_x2.png"]
        return
    with pytest.raises(UserError, match=r"^1 of 2 images could not be upscaled"):
        upscale("in")
    assert (
        f"{long}.png: the name of its result would be 258 bytes long, and 255 is the limit" in capsys.readouterr().err
    )
    assert list_files("out") == ["ok_x2.png"]
    upscale(f"in/{long}.png", "short.png")


def test_two_processes_write_to_one_folder(tmp_path: Path) -> None:
    """Each has a temporary file of its own, so that the last one to finish wins with a complete file."""
    targets = [tmp_path / "a.png"] * 8
    images = [to_pil(torch.full((3, 200, 200), level, dtype=torch.uint8)) for level in range(8)]
    threads = [threading.Thread(target=write_png, args=pair) for pair in zip(targets, images, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(np.array(open_image(targets[0])))) == 1
    assert os.listdir(tmp_path) == ["a.png"]  # noqa: PTH208


def test_no_temporary_file_is_left_by_any_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(self: Image.Image, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", write_half)
    with pytest.raises(KeyboardInterrupt):
        write_png(tmp_path / "a.png", Image.new("L", (2, 2)))
    assert not list(tmp_path.iterdir())


# interruption


def test_an_interrupted_batch_goes_on_where_it_stopped(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_images("in/a.png", "in/b.png", "in/c.png")
    read, calls = files.read_image, []

    def interrupt(path: Path) -> Any:
        calls.append(path.name)
        if path.name == "b.png" and len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)  # as SLURM does; Ctrl-C is SIGINT
        return read(path)

    monkeypatch.setattr(files, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        upscale("in")
    assert "stopped: 1 of 3 images are in out; the same command does the others" in capsys.readouterr().err
    upscale("in")
    assert calls == ["a.png", "b.png", "b.png", "c.png"]
    out = capsys.readouterr().out
    assert "finished before, with the same net and options: 1 image\n" in out
    assert "2 images upscaled ×2 into out" in out
    upscale("in")
    upscale("in", overwrite=True)
    assert len(calls) == 4 + 3


def test_a_result_of_something_else_is_not_taken_for_finished(upscale: Upscale) -> None:
    write_images("a.png", "b.png")
    upscale("a.png")
    with pytest.raises(UserError, match=r"^output=out: a_x2\.png exists already; overwrite=true replaces it$"):
        upscale("a.png", ensemble=True)
    os.utime("a.png", (1, 1))
    upscale("b.png")
    with pytest.raises(UserError, match=r"^output=out: a_x2\.png exists already; overwrite=true replaces it$"):
        upscale(["a.png", "b.png"])
    with pytest.raises(
        UserError, match=r"^output=out: a_x2\.png, b_x2\.png exist already; overwrite=true replaces them$"
    ):
        upscale(["a.png", "b.png"], tile=2)


# memory


def test_memory_is_that_of_the_result_not_of_its_floats(upscale: Upscale, tmp_path: Path) -> None:
    """1,600×1,200 ×2: the result has 23 MB; in float32, twice and more, it had 500 MB."""
    model = load(tmp_path / "best.ckpt", "cpu")
    color = torch.randint(0, 256, (1, 3, 1200, 1600), dtype=torch.uint8)
    pixels = api.Pixels(color, color[0, :1])
    upscale_pixels(model, api.Pixels(color[..., :300, :300]), tile=200)  # warms up
    meter = Meter(torch.device("cpu"))
    with meter.measure_call():
        result = upscale_pixels(model, pixels, tile=200)
    assert result.color.shape == (1, 3, 2400, 3200)
    assert meter.peak < 200e6


@pytest.mark.parametrize(
    ("tile", "advice"),
    [(None, r"100×80 does not fit in memory; say tile=64, or less"), (70, "say tile=64, or less"), (64, "smaller net")],
)
def test_tiles_are_advised_only_where_they_help(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, tile: int | None, advice: str
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Plain, "forward", fail)
    write_image(Path("a.png"), 80, 100)
    with pytest.raises(UserError, match=advice):
        upscale(tile=tile)


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_an_alpha_channel_that_does_not_fit_is_named(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(api, "imresize", fail)
    Image.new("RGBA", (8, 6)).save("a.png")
    with pytest.raises(UserError, match=r"^a\.png: the result of 16×12 does not fit in memory; split the image"):
        upscale("a.png")
