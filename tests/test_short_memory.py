"""`sr.predict` if memory is short: tiles are halved with a note, what cannot fit is refused; batches equal single images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from test_predict import LIGHTER, open_image, run_predict, save_checkpoint

from sr.inference.footprint import divide_clip_frame, skip_large_sides
from sr.net.plain import Plain
from sr.prediction import opened_job
from sr.runtime.error import UserError

NONE_FREE = "for it as a whole, and 0 bytes are free for it"
HALVED = "note: memory was short: tile=30 from now on"
Upscale = Callable[..., dict[str, np.ndarray]]


def create_weights(channels: int) -> dict[str, torch.Tensor]:
    """Return weights of a net whose result depends on all its layers."""
    torch.manual_seed(0)
    net = Plain(scale=2, channels=channels, width=4, depth=3)
    torch.nn.init.normal_(net.body[-2].weight, std=0.05)
    torch.nn.init.constant_(net.body[-2].bias, LIGHTER / 255)
    return {f"net.{key}": value for key, value in net.state_dict().items()}


@pytest.fixture
def upscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upscale:
    """`upscale(input, output, color="y", tile=…)` returns the results `[H, W, …]` by file name."""
    monkeypatch.chdir(tmp_path)

    def command(input: str, output: str, color: str = "rgb", **options: Any) -> dict[str, np.ndarray]:
        weights = create_weights(3 if color == "rgb" else 1)
        run_predict(save_checkpoint(tmp_path / f"{color}.ckpt", color, weights=weights), input, output, **options)
        return {path.name: np.array(open_image(path)).astype(int) for path in sorted(Path(output).glob("*_x2.*"))}

    return command


def fail_above(monkeypatch: pytest.MonkeyPatch, pixels: int) -> list[tuple[int, ...]]:
    """Let the net fail as if memory did not suffice for input `[B, C, h, w]` with more than `pixels` in B·h·w.

    Returns the list to which the shapes of the other inputs are appended.
    """
    shapes, forward = [], Plain.forward

    def fail(net: Plain, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > pixels * x.shape[1]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        shapes.append(tuple(x.shape))
        return forward(net, x)

    monkeypatch.setattr(Plain, "forward", fail)
    return shapes


@pytest.mark.parametrize("kind", ["small", "batch", "large"])
def test_tiles_that_do_not_fit_are_halved_with_one_note_and_the_result_is_the_same(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kind: str
) -> None:
    for k in range(2):
        write_image(Path("in", f"{k}.png"), 50, 60, seed=k)
    if kind != "batch":
        monkeypatch.setattr(opened_job, "BATCH_PIXELS", 0)
    if kind == "large":
        monkeypatch.setattr(opened_job, "SMALL_PIXELS", 0)
    expected = upscale("in", "whole")
    assert "memory was short" not in capsys.readouterr().err
    fail_above(monkeypatch, 1800)
    halved = upscale("in", "halved")
    assert [line.partition(" (")[0] for line in capsys.readouterr().err.splitlines()] == [HALVED]
    assert list(halved) == list(expected) == ["0_x2.png", "1_x2.png"]
    for name, pixels in expected.items():
        assert_equal(halved[name], pixels)


def test_a_batch_that_does_not_fit_is_divided_into_images_not_tiles(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for k in range(2):
        write_image(Path("in", f"{k}.png"), 50, 60, seed=k)
    shapes = fail_above(monkeypatch, 50 * 60)
    assert len(upscale("in", "out")) == 2
    assert shapes.count((1, 3, 50, 60)) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("tile", [None, 32])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.png", rf"9\.0 kB {NONE_FREE}; save it as TIFF before, which is read in strips, or allow more by memory="),
        (
            "a.webp",
            rf"99\.0 kB {NONE_FREE}; save it as TIFF .*, write format=png or tiff, .*, or allow more by memory=",
        ),
        (
            "a.tif",
            r"this net does not fit in memory, of which 0 bytes are free for it; allow more by memory=, or .* smaller net",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_and_without_tiles(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, tile: int | None, name: str, reason: str
) -> None:
    """The process has more than 1 MB already. A TIFF is read and written in rows: none of it is held as a whole."""
    monkeypatch.setattr(opened_job, "SMALL_PIXELS", 0)
    write_image(Path(name), 50, 60)
    with pytest.raises(UserError, match=f"^{name}: .*{reason}$"):
        upscale(name, "out", memory="1MB", tile=tile)
    assert not list(Path("out").glob("a*"))


def test_a_small_image_that_cannot_fit_is_given_no_advice_that_would_not_help(upscale: Upscale) -> None:
    write_image(Path("a.webp"), 50, 60)
    with pytest.raises(UserError, match=rf"99\.0 kB {NONE_FREE}; allow more by memory=$"):
        upscale("a.webp", "out", memory="1MB")


@pytest.mark.parametrize("color", ["rgb", "y"])
def test_images_of_a_batch_equal_the_same_ones_upscaled_alone(
    upscale: Upscale, monkeypatch: pytest.MonkeyPatch, color: str
) -> None:
    for seed, mode in enumerate(("RGB", "RGBA", "L", "LA")):
        for k in range(3):
            path = write_image(Path("in", f"{mode}{k}.png"), 24, 33, seed=4 * k + seed, mode=mode)
            if mode.endswith("A"):
                image = open_image(path)
                image.putalpha(open_image(write_image(Path("alpha.png"), 24, 33, seed=90 + k, mode="L")))
                image.save(path)
    counts, forward = [], Plain.forward

    def count(net: Plain, x: torch.Tensor) -> torch.Tensor:
        counts.append(len(x))
        return forward(net, x)

    monkeypatch.setattr(Plain, "forward", count)
    batched = upscale("in", "batched", color)
    assert max(counts) == 6  # all gray ones, and all RGB ones: those with alpha, too
    counts.clear()
    monkeypatch.setattr(opened_job, "BATCH_PIXELS", 0)
    alone = upscale("in", "alone", color)
    assert set(counts) == {1}
    assert len(batched) == 12
    assert list(batched) == list(alone)
    for name, pixels in alone.items():
        assert_equal(batched[name], pixels)


def assert_equal(result: np.ndarray, expected: np.ndarray) -> None:
    """Assert equality, except that a few values between two levels may be rounded either way: sums differ in their order."""
    assert result.shape == expected.shape
    difference = np.abs(result - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-3


@pytest.mark.parametrize(
    ("sides", "margin", "per_pixel", "expected"),
    [
        ((512, 384, 256), 32, 7900, 384),  # IMDN ×4: 576² pixels need 2.6 GB, 448² need 1.6, for 1.075 of the work
        ((512, 384, 256), 32, 5000, 512),  # 1.7 GB
        ((512, 384, 256), 64, 7900, 512),  # 384 would be 1.14 of the work
        ((768, 512, 384), 128, 27_000, 768),  # RRDBNet: nothing smaller is worth it
        ((512, 384, 256), 0, 16_000, 256),
    ],
)
def test_a_smaller_tile_is_taken_if_it_saves_memory_for_little_time(
    sides: tuple[int, ...], margin: int, per_pixel: float, expected: int
) -> None:
    assert skip_large_sides(sides, margin, per_pixel)[0] == expected


@pytest.mark.parametrize(
    ("margin", "per_pixel", "size", "expected"),
    [
        (3, 400, (720, 1280), (360, 640)),  # four of 94 MB; the whole frame is 369 MB
        # small_x2: twelve of 166 MB, for 1.19 of the work; the whole frame is 1.6 GB.
        (18, 1690, (720, 1280), (240, 320)),
        (4, 100, (720, 1280), (720, 1280)),  # 92 MB
        (0, 2000, (90, 161), (90, 161)),
        (128, 5000, (720, 1280), (720, 640)),  # RRDBNet: nothing is moderate, and smaller ones make far more work
    ],
)
def test_frames_of_videos_are_divided_where_that_costs_little(
    margin: int, per_pixel: float, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    height, width = divide_clip_frame(margin, per_pixel, size)
    assert (min(height, size[0]), min(width, size[1])) == expected
