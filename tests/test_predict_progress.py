"""The progress bar of `sr.predict`: images, or pixels and strips if some images are large, or frames of videos."""

from pathlib import Path
from typing import Any

import pytest
from conftest import write_image
from PIL import Image
from test_predict import create_work_folder, run_predict

from sr.net.plain import Plain
from sr.prediction import opened_job
from sr.runtime import terminal
from sr.runtime.error import UserError


class Bar:
    """What the bars of a command have shown: `counts`, out of `total` of `unit`."""

    def __init__(self) -> None:
        self.counts, self.total, self.unit = [], 0, ""


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Bar:
    shown, update = Bar(), terminal.ProgressBar.update

    def record(progress: terminal.ProgressBar, count: int = 1) -> Any:
        update(progress, count)
        if progress.desc != "upscale":
            return
        shown.counts.append(progress.n)
        shown.total, shown.unit = progress.total, progress.unit

    monkeypatch.setattr(terminal.ProgressBar, "update", record)
    return shown


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In an empty working folder, where images of over 600 pixels are large."""
    monkeypatch.setattr(opened_job, "SMALL_PIXELS", 600)
    return create_work_folder(tmp_path, monkeypatch)


def test_small_images_of_one_size_are_counted(checkpoint: Path, bar: Bar) -> None:
    for k in range(3):
        write_image(Path(f"in/{k}.png"), 20, 30, seed=k)
    run_predict(checkpoint, "in", "out")
    assert (bar.counts, bar.total, bar.unit) == ([1, 2, 3], 3, "image")


def test_the_bar_moves_within_a_large_image_in_pixels_of_the_result(checkpoint: Path, bar: Bar) -> None:
    write_image(Path("in/a.png"), 20, 30)
    write_image(Path("in/b.png"), 40, 30)
    run_predict(checkpoint, "in", "out", tile=16)
    ends = [2400, 2400 + 60 * 32, 2400 + 60 * 64, 2400 + 60 * 80]  # a.png; strips of 16, 16 and 8 rows, ×2
    assert (sorted(set(bar.counts)), bar.counts) == (ends, sorted(bar.counts))
    assert (bar.total, bar.unit) == (ends[-1], "pixel")


def test_the_bar_moves_through_the_frames_of_an_image(checkpoint: Path, bar: Bar) -> None:
    frames = [Image.new("RGB", (20, 10), (50 * k, 0, 0)) for k in range(4)]
    frames[0].save("a.tif", save_all=True, append_images=frames[1:])
    run_predict(checkpoint, "a.tif", "out")
    assert (sorted(set(bar.counts)), bar.total) == ([800, 1600, 2400, 3200], 3200)


def test_the_bar_is_full_though_a_large_image_fails_in_the_middle(
    checkpoint: Path, bar: Bar, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_image(Path(f"in/{name}.png"), 40, 30)
    calls, forward = [], Plain.forward

    def fail(net: Plain, x: Any) -> Any:
        calls.append(x)
        return {}["tag"] if len(calls) == 4 else forward(net, x)  # in the second strip: two tiles each

    monkeypatch.setattr(Plain, "forward", fail)
    with pytest.raises(UserError, match=r"^1 of 2 images could not be upscaled"):
        run_predict(checkpoint, "in", "out", tile=16)
    assert bar.counts[:2] == [60 * 32, 60 * 80]  # one strip, then the rest of a.png
    assert bar.counts[-1] == bar.total == 2 * 60 * 80


def test_frames_of_videos_are_counted(checkpoint: Path, bar: Bar) -> None:
    pytest.importorskip("av", reason="needs sr[video]")
    from clips import write_clip

    for name, count in (("a.mkv", 3), ("b.mkv", 4)):
        write_clip(Path(name), times=range(count))
    run_predict(checkpoint, ["a.mkv", "b.mkv"], "out")
    assert (bar.total, bar.unit) == (7, "frame")
    assert sorted(set(bar.counts)) == list(range(1, 8))
