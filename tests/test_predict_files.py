"""`sr.predict` on real files: what `input` and `output` may name, odd images in a batch, interruption, memory."""

import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from test_predict import create_work_folder, open_image, run_predict, save_checkpoint

from sr.image.write import to_pil, write_png
from sr.inference.complexity import Meter
from sr.net.plain import Plain
from sr.prediction import api, network
from sr.prediction.api import load, upscale_pixels
from sr.prediction.sources import describe_left_out, find_sources
from sr.runtime.error import UserError

Upscale = Callable[..., None]


@pytest.fixture
def upscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscale:
    """`upscale(input, output, overwrite=…)` in an empty working folder."""
    path = create_work_folder(tmp_path, monkeypatch)

    def command(input: Any = "a.png", output: Any = "out", overwrite: bool = False, **options: Any) -> None:
        run_predict(path, input, output, overwrite=overwrite, **options)

    return command


def write_images(*names: str) -> None:
    for name in names:
        write_image(Path(name), 8, 6)


def list_files(folder: str = ".") -> list[str]:
    """Return the files in and below a folder, without the manifest."""
    files = (str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
    return sorted(name for name in files if not name.endswith("predict.json"))


# input and output


def test_the_result_is_written_next_to_the_image_in_its_format(upscale: Upscale) -> None:
    for name in ("a.png", "in/b.JPG", "in/deep/c.jpeg", "in/deep/d.webp"):
        write_images(name)
    upscale("a.png", None)
    assert list_files() == ["a.png", "a_x2.png", "in/b.JPG", "in/deep/c.jpeg", "in/deep/d.webp"]
    upscale("in", None)
    assert list_files("in") == [
        "b.JPG", "b_x2.JPG", "deep/c.jpeg", "deep/c_x2.jpeg", "deep/d.webp", "deep/d_x2.webp",
    ]  # fmt: skip
    formats = [Image.open(f"in/{name}").format for name in ("b_x2.JPG", "deep/c_x2.jpeg", "deep/d_x2.webp")]
    assert formats == ["JPEG", "JPEG", "WEBP"]


def test_results_of_an_earlier_start_are_no_images_to_upscale(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    """In a folder; an image that is typed is upscaled whatever it is."""
    write_images("in/a.png", "in/deep/b.png")
    for _ in range(2):
        upscale("in", None)
        assert list_files("in") == ["a.png", "a_x2.png", "deep/b.png", "deep/b_x2.png"]
    captured = capsys.readouterr()
    assert captured.out.endswith("2 images finished before\n")
    assert "note: input: 2 left out: a_x2.png, b_x2.png (a result of an earlier start)\n" in captured.err
    Path("in/.predict.json").unlink()
    before = Path("in/a_x2.png").read_bytes()
    for overwrite in (False, True):  # it may be a photograph of this name
        with pytest.raises(
            UserError, match=r"^output=null: expected another file than input=in/a_x2\.png, which would be"
        ):
            upscale("in", None, overwrite=overwrite)
    assert Path("in/a_x2.png").read_bytes() == before
    upscale("in/a_x2.png", None)
    assert Path("in/a_x2_x2.png").exists()


def test_the_name_of_an_image_file_is_the_file_of_a_single_image(upscale: Upscale) -> None:
    write_images("a.png", "b.png", "in/c.jpg")
    upscale("a.png", "big.png")
    upscale("in", "new/BIG.PNG")  # a folder with one image
    upscale("a.png", "big.jpg")
    assert [Image.open(name).format for name in ("big.png", "new/BIG.PNG", "big.jpg")] == ["PNG", "PNG", "JPEG"]
    assert open_image(Path("big.png")).size == open_image(Path("new/BIG.PNG")).size == (12, 16)
    with pytest.raises(UserError, match=r"^output=two\.png: expected a folder for 2 images .*output=two\.png/"):
        upscale(["a.png", "b.png"], "two.png")
    with pytest.raises(UserError, match=r"^output=x\.jpg format=png: expected one format \(found JPEG and PNG\)"):
        upscale("a.png", "x.jpg", format="png")
    with pytest.raises(UserError, match=r"^output=x\.pdf: PDF files are not written; .*output=x\.pdf/$"):
        upscale("a.png", "x.pdf")
    with pytest.raises(UserError, match=r"^output=x\.pgn: expected a file of png, .*mkv.* \(found .*output=x\.pgn/$"):
        upscale("a.png", "x.pgn")
    with pytest.raises(UserError, match=r"^output=a\.png: expected another file than input=a\.png"):
        upscale("a.png", "a.png", overwrite=True)
    assert not {path.name for path in Path().iterdir()} & {"two.png", "x.jpg", "x.pdf", "x.pgn"}
    upscale("a.png", "x2.5")
    upscale("a.png", "named.txt/")
    assert list_files("x2.5") == list_files("named.txt") == ["a_x2.png"]


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
    note = "note: input: 2 left out: deep (a folder: ** in a pattern matches what is in it); notes.txt (no image)\n"
    assert note in capsys.readouterr().err
    assert list_files("out") == ["a_x2.png", "b_x2.jpg", "c_x2.png", "d_x2.png"]
    upscale("in/**/*.png", "out2")  # folders from the first wildcard on stay
    assert list_files("out2") == ["c_x2.png", "d_x2.png", "deep/e_x2.png"]
    upscale("[scan] 01.png", "out3")  # a file of this name is no pattern
    assert list_files("out3") == ["[scan] 01_x2.png"]
    with pytest.raises(UserError, match=r"^input=\*\.webp: no image matches this pattern$"):
        upscale("*.webp", "out4")


def test_a_folder_is_read_with_its_subfolders(upscale: Upscale) -> None:
    """Without hidden files, the folder of the results, and what links lead to for a second time."""
    write_images("in/z/a.png", "in/z/deep/b.jpg", "in/.hidden/c.png", "in/.d.png", "in/up/old.png", "far/e.png")
    Path("in/loop").symlink_to("..")
    Path("in/z/again").symlink_to("../z")
    Path("in/far").symlink_to("../far")
    upscale("in/z", "in/up")
    assert list_files("in/up") == ["a_x2.png", "deep/b_x2.jpg", "old.png"]
    Path("far/e.png").rename("in/z/e.png")
    upscale("in", "in/up", overwrite=True)
    assert list_files("in/up") == [
        "a_x2.png", "deep/b_x2.jpg", "old.png", "z/a_x2.png", "z/deep/b_x2.jpg", "z/e_x2.png",
    ]  # fmt: skip
    write_images("flat/a.png", "flat/deep/b.png")
    upscale("flat", "out", recursive=False)
    assert list_files("out") == ["a_x2.png"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_image(tmp_path / "in/a.png")
    write_image(tmp_path / "far/b.png")
    (tmp_path / "in/0").symlink_to("../far")
    (tmp_path / "in/1").symlink_to("../far")
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "in/self").symlink_to("self")
    (tmp_path / "in/link.png").symlink_to("a.png")  # another image of the same content
    found = find_sources(str(tmp_path / "in"))
    assert [str(image.path.relative_to(tmp_path)) for image in found.images] == [
        "in/0/b.png",
        "in/a.png",
        "in/link.png",
    ]
    reasons = {entry.path.name: entry.reason for entry in found.left_out}
    again = "a link to a folder that is read already"
    assert reasons == {"1": again, "loop": again, "self": "no image"}
    pattern = find_sources(str(tmp_path / "in/**/*.png"))
    assert [image.path.name for image in pattern.images] == ["b.png", "a.png", "link.png"]


def test_what_is_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "b.dat").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "c.pdf").write_text("%PDF-1.7")
    for k in range(5):
        (tmp_path / f"{k}.txt").touch()
    assert describe_left_out(find_sources(str(tmp_path)).left_out) == (
        "7 left out: 0.txt, 1.txt, 2.txt and 2 more (no image); b.dat (PNG by its content: rename it); "
        "c.pdf (PDF is not read: save its images as PNG)"
    )


def test_a_list_file_names_images(upscale: Upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to itself, and with the folders that are written in it."""
    write_images("in/a.png", "in/deep/a.png", "in/ b.png", "far/c.png", "in/x/d.png")
    lines = ["# mine", "a.png", "", "deep/a.png", " b.png", "../far/c.png", "x", "a.png"]
    Path("in/list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    upscale("@in/list.txt", "out")
    assert list_files("out") == [" b_x2.png", "a_x2.png", "c_x2.png", "deep/a_x2.png", "x/d_x2.png"]
    odd = os.fsdecode(b"\xff\n%41 .png")
    write_images(f"in/{odd}")
    stream = SimpleNamespace(buffer=io.BytesIO(os.fsencode(f"in/{odd}\0in/a.png\0")), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stream)  # as of find -print0
    upscale("@-", "out2")
    assert list_files("out2") == sorted(["in/a_x2.png", f"in/{odd[:-4]}_x2.png"])
    Path("in/list.txt").write_text("a.png\nmissing.png\ngone\n")
    with pytest.raises(UserError, match=r"^input=@in/list\.txt: .* line 2 names: missing\.png, nor 1 more$"):
        upscale("@in/list.txt", "out3")
    with pytest.raises(UserError, match=r"^input=@no\.txt: this list of files cannot be read \(No such file"):
        upscale("@no.txt", "out3")


def test_two_images_of_one_result_are_refused_before_anything_is_computed(upscale: Upscale) -> None:
    write_images("a.png", "in2/a.png", "in3/b.png", "in3/B.png")
    with pytest.raises(UserError, match=r"^a\.png and in2/a\.png would both become a_x2\.png: rename one"):
        upscale(["a.png", "in2"], "out")
    with pytest.raises(UserError, match=r"^B\.png and b\.png would both become b_x2\.png: rename one"):
        upscale("in3", "out")  # where capital and small letters are the same, one would replace the other
    assert not Path("out").exists()


def test_standard_input_and_output(upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    write_images("a.png", "b.png")
    data = Path("a.png").read_bytes()
    upscale("a.png", "expected.png")

    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))

    give(data)
    capsysbinary.readouterr()
    upscale("-", None)
    captured = capsysbinary.readouterr()
    assert captured.out == Path("expected.png").read_bytes()
    assert captured.err.startswith(b"1 image upscaled \xc3\x972 to standard output (12\xc3\x9716, ")
    give(data)
    upscale("-", "-", format="jpeg")
    assert capsysbinary.readouterr().out.startswith(b"\xff\xd8\xff")
    give(data)
    upscale("-", "file.webp")
    assert Image.open("file.webp").size == (12, 16)
    capsysbinary.readouterr()
    for content, message in ((b"a letter", "^input=-: this is not an image"), (b"", "^input=-: .*found no bytes")):
        give(content)
        with pytest.raises(UserError, match=message):
            upscale("-", "-")
    with pytest.raises(UserError, match=r"^output=-: expected a single image \(found 2\)"):
        upscale(["a.png", "b.png"], "-")
    with pytest.raises(UserError, match=r"^input=\[a\.png,-\]: expected - \(standard input\) alone"):
        upscale(["a.png", "-"], "out")
    assert capsysbinary.readouterr().out == b""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("input=", "output=out"), "input=: expected a path"), (("input=null", "output=out"), "input=null: expected a path"),
        (("input=[a.png,null]", "output=out"), "input"), (("input=[]", "output=out"), "input=[]: expected an image file"),
        (("input=a.png", "output="), "output=: expected a path"),
        (("a.png",), "a.png: expected key=value; type input=a.png"),
        (("input=a.png", "quality=101"), "quality=101: expected a whole number from 1 to 100, or null"),
        (("input=a.png", "depth=12"), "depth=12: expected one of 8, 16, or null"),
        (("input=a.png", "format=jpgg"), "format=jpgg: expected png, "),
        (("input=a.png", "outscale=0.5"), "outscale=0.5: expected a factor of 1 or more"),
        (("input=a.png", "size=1920"), "size=1920: expected"),
        (("input=a.png", "size=big"), "size=big: expected WIDTHxHEIGHT such as 1920x1080, or one of them"),
        (("input=a.png", "size=x8", "outscale=2"), "outscale=2 size=x8: expected one of them"),
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
    monkeypatch.setattr(network, "load", lambda *_: pytest.fail("the net was loaded first"))
    for name in ("typo.png", "typo", "n" * 300):
        with pytest.raises(UserError, match=f"^input={name}: there is no such file or folder"):
            upscale(name)
    Path("file").touch()
    write_images("a.png")
    with pytest.raises(UserError, match=r"^output=file: expected a folder, or .*\(found another file\)"):
        upscale("a.png", "file")
    assert list_files() == ["a.png", "file"]


def test_the_end_says_how_many_where_size_and_seconds(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    write_images("a.png", "b.png")
    upscale("a.png", "one.png")
    size = Path("one.png").stat().st_size
    end = r" in \d\.\d s, [\d.]+ megapixels/s\n"
    assert re.fullmatch(rf"1 image upscaled ×2 into one\.png \(12×16, {size} bytes\){end}", capsys.readouterr().out)
    upscale(["a.png", "b.png"])
    assert re.fullmatch(rf"2 images upscaled ×2 into out \([\d.]+ \w+\){end}", capsys.readouterr().out)


def test_what_is_not_preserved_is_said_once(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        Image.new("RGBA", (8, 6)).save(f"{name}.png")
    write_images("c.png")
    upscale(["a.png", "b.png", "c.png"], format="jpeg")
    assert re.fullmatch(r"note: .*alpha.*\b2 images\)?\n", capsys.readouterr().err)


# a batch with odd images


def test_any_exception_of_an_image_is_named_once_and_the_rest_is_done(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_images("in/a.png", "in/c.png", "in/d.png")
    write_image(Path("in/b.png"), 8, 7)
    Path("in/d.png").write_text("a letter")
    forward = Plain.forward

    def fail(net: Plain, x: torch.Tensor) -> torch.Tensor:
        return {}["tag"] if x.shape[-1] == 7 else forward(net, x)

    monkeypatch.setattr(Plain, "forward", fail)
    with pytest.raises(
        UserError, match=r"^2 of 4 images could not be upscaled, see above; 2 images upscaled into out \("
    ):
        upscale("in")
    err = capsys.readouterr().err
    assert err.count("b.png") == err.count("d.png") == 1
    assert "in/b.png: cannot be upscaled (KeyError: 'tag')" in err
    assert list_files("out") == ["a_x2.png", "c_x2.png"]
    with pytest.raises(UserError, match=r"^in/b\.png: cannot be upscaled"):
        upscale("in/b.png")


def test_of_many_failures_the_first_ones_are_printed(upscale: Upscale, capsys: pytest.CaptureFixture) -> None:
    write_images("in/a.png")
    for k in range(25):
        Path(f"in/{k}.png").write_text("a letter")
    with pytest.raises(
        UserError, match=r"^25 of 26 images .*, see above \(5 more in .*out/predict\.json\); 1 image upscaled"
    ):
        upscale("in")
    assert capsys.readouterr().err.count("skipped: in/") == 20
    assert len(json.loads(Path("out/predict.json").read_text())["left_out"]) == 25


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
    upscale: Upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int | None, advice: str
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Plain, "forward", fail)
    with pytest.raises(UserError, match=advice):
        api.upscale(load(tmp_path / "best.ckpt", "cpu"), Image.new("RGB", (100, 80)), tile=tile)


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_an_alpha_channel_that_does_not_fit_is_named(
    upscale: Upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(api, "imresize", fail)
    with pytest.raises(UserError, match=r"^image: the result of 16×12 does not fit in memory; split the image"):
        api.upscale(load(tmp_path / "best.ckpt", "cpu"), Image.new("RGBA", (8, 6)))


def test_words_are_taken_as_they_are_typed(sr: Any, tmp_path: Path) -> None:
    """Through Hydra's grammar: list files, sizes, and file names with every kind of character."""
    save_checkpoint(tmp_path / "best.ckpt")
    names = [
        "100%.png",
        "[scan] 01.png",
        "'q'.png",
        "a,b=c.png",
        "${x}.png",
        "line\nfeed.png",
        os.fsdecode(b"\xff.png"),
    ]
    write_images(*names)
    Path("my list.txt").write_text("100%.png\n")
    for name in names:
        assert sr("predict", "checkpoint=best.ckpt", "device=cpu", f"input={name}", "output=out").code == 0, name
    assert list_files("out") == sorted(f"{name[:-4]}_x2.png" for name in names)
    words = ("checkpoint=best.ckpt", "device=cpu", "input=@my list.txt")
    for more in (("size=9x", "output=a (1).png"), ("size=9x12",), ("outscale=1.5", "format=tiff", "output=-")):
        answer = sr("predict", *words, *more)
        assert (answer.code, "error" in answer.err) == (0, False), answer.err
    assert open_image(Path("a (1).png")).size == open_image(Path("100%_9x12.png")).size == (9, 12)
    assert answer.out[:2] in ("II", "MM")  # the bytes of a TIFF
