"""Options of `sr.predict` about results: their size and format, the sheet of `preview=true`, `niqe=true`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from test_predict import LIGHTER, open_image, run_predict, save_checkpoint

from sr.image.file_format import Header
from sr.image.read import read_image
from sr.image.resize import imresize
from sr.prediction import network
from sr.prediction.jobs import ProbedImage
from sr.prediction.memory_size import read_memory_size
from sr.prediction.result_size import parse_size
from sr.prediction.sources import InputImage
from sr.runtime.error import UserError

Upscale = Callable[..., None]


@pytest.fixture
def upscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscale:
    """`upscale(input, output, size="1920x1080")` in an empty working folder, by a network of scale 3."""
    path = save_checkpoint(tmp_path / "best.ckpt", scale=3)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return lambda words="a.png", output="out", **options: run_predict(path, words, output, **options)


@pytest.mark.parametrize(
    ("outscale", "size", "source", "expected", "suffix"),
    [
        (2.5, None, (41, 60), (102, 150), "_x2.5"),  # 102.5 rounds to even
        (3.0, None, (41, 60), None, "_x3"),
        (None, "120x82", (41, 60), (82, 120), "_120x82"),
        (None, "120x81", (41, 60), (81, 120), "_120x81"),  # a pixel off
        (None, "100x", (41, 60), (68, 100), "_100x"),
        (None, "x100", (41, 60), (100, 146), "_x100"),
        (None, "180X123", (41, 60), None, "_180x123"),
        (None, "1×1", (1, 1), (1, 1), "_1x1"),
    ],
)
def test_the_size_of_results(
    outscale: float | None, size: str | None, source: tuple[int, int], expected: Any, suffix: str
) -> None:
    """Height and width; None is the size that the network of scale 3 gives."""
    result_size = parse_size(outscale, size)
    assert result_size.fit_network(Header(*source, "color"), 3) == expected
    assert result_size.format_suffix(3) == suffix


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outscale": 3.5}, r"^outscale=3\.5: expected at most the scale of the network, 3 \(found a factor of 3\.5, "),
        (
            {"size": "40x20"},
            r"^size=40x20: expected the aspect ratio .*60×41.*size=40x makes it 40×27, size=x20 29×20$",
        ),
        ({"size": "400x"}, r"^size=400x: expected at most the scale of the network, 3 \(found a factor of 6\.6"),
        ({"size": "x"}, r"^size=x: expected WIDTHxHEIGHT such as 1920x1080"),
        ({"format": "png", "quality": 80}, r"^quality=80: expected a lossy format of images \(found PNG\)"),
        ({"codec": "h264"}, r"^codec=h264: expected a video \(found PNG\); leave it out"),
        ({"format": "jpeg", "depth": 16}, r"^depth=16: expected a format of 16 bits \(found JPEG, of out/a_x3\.jpg\)"),
        ({"format": "heic"}, r"^format=heic: "),
    ],
)
def test_what_is_impossible_is_said_before_anything_is_written(
    upscale: Upscale, options: dict[str, Any], message: str
) -> None:
    write_image(Path("a.png"), 41, 60)
    with pytest.raises(UserError, match=message):
        upscale(**options)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("outscale", "size", "scale"),
    [
        (None, None, 2),
        (1.5, None, 2),
        (2.0, None, 2),
        (2.5, None, 3),
        (9.0, None, 4),
        (None, "x100", 3),
        (None, "60x", 2),
    ],
)
def test_without_checkpoint_the_smallest_network_is_taken_that_is_enough(
    monkeypatch: pytest.MonkeyPatch, outscale: float | None, size: str | None, scale: int
) -> None:
    """Of images of 41×60 and 60×41 (height and width)."""
    networks = [SimpleNamespace(scale=scale, package=None) for scale in (4, 2, 3)]
    networks.append(SimpleNamespace(scale=8, package="other"))
    monkeypatch.setattr(network, "list_networks", lambda: networks)
    images = [ProbedImage(InputImage(Path("a.png")), Header(*size, "color")) for size in ((41, 60), (60, 41))]
    assert network.choose_scale(parse_size(outscale, size), images) == scale


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        (None, None),
        (3_000_000, 3_000_000),
        ("2GB", 2 * 10**9),
        ("1.5 gb", 15 * 10**8),
        ("500M", 5 * 10**8),
        ("1GiB", 2**30),
    ],
)
def test_the_memory_is_read_in_bytes(memory: Any, size: int | None) -> None:
    assert read_memory_size(memory) == size


@pytest.mark.parametrize("memory", ["much", "2XB", "-1GB", "0", "GB", "1e3MB"])
def test_what_is_no_size_of_memory_is_named(memory: str) -> None:
    with pytest.raises(UserError, match=f"^memory={memory}: expected a size such as 2GB or 500MB, or null"):
        read_memory_size(memory)


def test_one_image_of_another_aspect_ratio_does_not_end_the_batch(
    upscale: Upscale, capsys: pytest.CaptureFixture
) -> None:
    write_image(Path("in/a.png"), 41, 60)
    write_image(Path("in/b.png"), 60, 41)
    with pytest.raises(UserError, match=r"^1 of 2 images could not be upscaled"):
        upscale("in", size="120x82")
    assert "skipped: size=120x82: expected the aspect ratio" in capsys.readouterr().err
    assert open_image(Path("out/a_120x82.png")).size == (120, 82)


def test_the_result_of_the_network_is_reduced_bicubically(upscale: Upscale) -> None:
    source = write_image(Path("a.png"), 40, 60)
    upscale(outscale=1.5)
    network = imresize(read_image(source).pixels.double() / 255, 3) + LIGHTER / 255
    expected = imresize(network.clamp(0, 1), size=(60, 90)).mul(255).add(0.5).floor().clamp(0, 255)
    result = np.array(open_image(Path("out/a_x1.5.png"))).astype(float)
    assert np.abs(result - expected.permute(1, 2, 0).numpy()).max() <= 1


def test_the_format_and_its_quality_are_chosen(upscale: Upscale) -> None:
    write_image(Path("a.png"), 41, 60)
    for name, suffix in (("jpeg", "jpg"), ("jpg", "jpg"), ("WEBP", "webp"), ("tiff", "tif")):
        upscale(format=name, overwrite=True)
        assert Image.open(f"out/a_x3.{suffix}").size == (180, 123)
    for depth in (16, 8):
        upscale(format="png", depth=depth, overwrite=True)
        assert Path("out/a_x3.png").read_bytes()[24] == depth  # in its header
    sizes = []
    for quality in (20, 95):
        upscale(format="jpeg", quality=quality, overwrite=True)
        sizes.append(Path("out/a_x3.jpg").stat().st_size)
    assert 2 * sizes[0] < sizes[1]


def test_the_sheet_shows_the_crop_with_most_detail_before_and_after(upscale: Upscale) -> None:
    """The image is flat except for its lower right corner; the network makes it lighter."""
    pixels = np.full((120, 160, 3), 90, np.uint8)
    pixels[40:, 80:] = np.random.default_rng(0).integers(0, 2, (80, 80, 1)) * 200
    Image.fromarray(pixels).save("a.png")
    upscale("a.png", None, preview=True)
    sheet = np.array(open_image(Path("a_x3_preview.png"))).astype(float)
    assert sheet.shape == (260, 728, 3)
    before, bicubic, after = (sheet[:240, left : left + 240] for left in (0, 244, 488))
    assert set(np.unique(before)) == {0, 200}
    assert np.abs(after - bicubic)[after < 255].mean() == pytest.approx(LIGHTER, abs=8)
    upscale("a.png", None, preview=True, overwrite=True)
    for k in range(10):
        write_image(Path(f"in/{k % 2}/{k}.png"), 8, 6)
    Path("out").mkdir()
    Path("out/preview.png").touch()
    with pytest.raises(UserError, match=r"^output=out: preview\.png exists already"):
        upscale("in", preview=True)
    Path("out/preview.png").unlink()
    upscale("in", preview=True)
    assert open_image(Path("out/preview.png")).size == (728, 8 * 260)
    upscale("in", preview=True)  # nothing is left to be upscaled
    with pytest.raises(UserError, match=r"\(11 left out: .* and 8 more \(a result of an earlier start\)\)"):
        upscale("out", None)  # nor is the sheet an image to upscale


def test_niqe_is_printed_and_noted(upscale: Upscale, capsys: pytest.CaptureFixture, world: Path) -> None:
    """The value is that of the metric `niqe`, of files that are large enough."""
    write_image(Path("a.png"), 200, 210)
    write_image(Path("b.png"), 70, 70)
    upscale(["a.png", "b.png"], niqe=True)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"a\.png: NIQE \d+\.\d\d before, \d+\.\d\d after", lines[0])
    assert re.fullmatch(r"b\.png: NIQE not measured \(smaller than 192×192\) before, \d+\.\d\d after", lines[1])
    a, b = json.loads(Path("out/predict.json").read_text())["images"]
    assert f"{a['niqe']['after']:.2f} after" in lines[0]
    assert b["niqe"]["before"] is None


def test_an_image_of_a_format_that_is_not_written_becomes_jpeg_or_png(
    upscale: Upscale, capsys: pytest.CaptureFixture
) -> None:
    heif = pytest.importorskip("pillow_heif")
    for name, mode in (("a", "RGB"), ("b", "RGB"), ("c", "RGBA")):
        heif.from_pillow(Image.new(mode, (64, 64), (90, 120, 60, 200)[: len(mode)])).save(f"{name}.heic")
    upscale(["a.heic", "b.heic", "c.heic"])
    assert sorted(path.name for path in Path("out").glob("*_x3*")) == ["a_x3.jpg", "b_x3.jpg", "c_x3.png"]
    err = capsys.readouterr().err
    assert "note: HEIC is not written: 2 results as JPEG; " in err
    assert "note: HEIC is not written: 1 result as PNG; " in err
