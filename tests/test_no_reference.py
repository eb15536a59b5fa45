"""`sr.evaluate` without HR: result images, and LR images through a net, by metrics that need no reference."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluate import find_report, read_results

from sr.image.read import read_rgb
from sr.metric.niqe import score_niqe

NIQE = ("metric/also=[niqe]", "track=none")


def write_texture(path: Path, side: int, seed: int, gray: bool = False) -> None:
    """Write an image of smoothed noise, which has the structure that NIQE needs."""
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    image = image.convert("L") if gray else image
    image.save(path)


def test_result_images_have_a_row_each_and_a_mean(sr: Callable, tmp_path: Path) -> None:
    """A gray file has the value of the same image as RGB; one that is too small has none, and is named."""
    write_texture(tmp_path / "results" / "a.png", 200, 0)
    write_texture(tmp_path / "results" / "gray.png", 200, 1, gray=True)
    Image.open(tmp_path / "results" / "gray.png").convert("RGB").save(tmp_path / "results" / "rgb.png")
    write_texture(tmp_path / "results" / "small.png", 64, 2)
    answer = sr("evaluate", "images=results", *NIQE)
    assert answer.code == 0, answer.err
    result = read_results(tmp_path)["results"]
    values = {name: metrics["niqe_matlab"] for name, metrics in result.per_image.items()}
    assert set(values) == {"a", "gray", "rgb", "small"}
    assert values["a"] == score_niqe(read_rgb(tmp_path / "results" / "a.png"))
    assert values["gray"] == values["rgb"] != values["a"]
    assert math.isnan(values["small"])
    assert result.metrics["niqe_matlab"] == pytest.approx(sum(values[name] for name in ("a", "gray", "rgb")) / 3)
    assert result.protocol["protocol"] == "no-reference"
    assert "psnr" not in result.metrics
    assert "mean of 4 images" in answer.out
    assert "1 of 4 images have no value and are not in the mean" in answer.out
    assert "small (64×64)" in answer.out


def test_results_of_a_net_and_its_saved_images_are_one_table(sr: Callable, tmp_path: Path) -> None:
    """LR images through a net have the values of the images that sr.predict writes, and sr.compare shows both."""
    write_texture(tmp_path / "lr" / "a.png", 100, 0)
    write_texture(tmp_path / "lr" / "b.png", 100, 1, gray=True)
    words = ("checkpoint=small_x2", "progress=false")
    assert sr("predict", "input=lr", "output=other/lr", *words).code == 0
    answer = sr("evaluate", "input=lr", *words, *NIQE)
    assert answer.code == 0, answer.err
    result = read_results(tmp_path)["lr"]
    answer = sr("evaluate", "images=other/lr", "scale=2", *NIQE)
    assert answer.code == 0, answer.err
    saved = read_results(tmp_path, "images")["lr"]
    for name in ("a", "b"):
        assert result.per_image[name]["niqe_matlab"] == saved.per_image[name]["niqe_matlab"]
        assert result.per_image[name]["bicubic_niqe_matlab"] != result.per_image[name]["niqe_matlab"]
    assert result.protocol == saved.protocol
    folders = ",".join(str(find_report(tmp_path, part).parent) for part in ("images", "residual"))
    answer = sr("compare", f"runs=[{folders}]", "track=none")
    assert answer.code == 0, answer.err
    assert answer.out.count("lr ×2, protocol no-reference") == 1
    assert "NIQE" in answer.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("images=results",), "missing: scale="),
        (("images=nowhere", *NIQE), "images=nowhere: there is no such folder"),
        (("images=empty", *NIQE), "images=empty: no images in this folder"),
        (
            ("images=results", *NIQE),
            "images=results: expected images of at least 192×192 pixels, which niqe_matlab needs",
        ),
        (("images=results", "metric/also=[niq]"), 'Did you mean "niqe"?'),
        (("images=results", "metric=vdsr", *NIQE), "metric=vdsr: this option needs HR, which images=results has not"),
        (("input=results", "checkpoint=small_x2"), "expected metrics that need no HR, such as metric/also=[niqe]"),
        (("input=results", "checkpoint=small_x2", "data.test=[Set5]", *NIQE), "data.test=[Set5]: this option needs HR"),
        (("input=results", "model/net=bicubic", *NIQE), "missing: scale="),
        (("images=results", "input=results", *NIQE), "leave input out"),
        (("images=frames", *NIQE), "expected one image in each file"),
    ],
)
def test_errors_are_one_line(sr: Callable, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write_texture(tmp_path / "results" / "a.png", 100, 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "frames").mkdir()
    first = Image.new("L", (200, 200))
    first.save(tmp_path / "frames" / "a.gif", save_all=True, append_images=[Image.new("L", (200, 200), 9)])
    answer = sr("evaluate", *words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.glob("runs/*/evaluate.json"))
