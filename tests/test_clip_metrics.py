"""Metrics of clips: known motion, known noise, what is hidden, cuts; through the commands, in frames of a folder."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'sr[video]'")

from sr.metric.flicker import Flicker
from sr.metric.motion import Motion, find_motion, warp
from sr.metric.protocol import Protocol
from sr.metric.score import Score
from sr.metric.warping_error import WarpingError
from sr.runtime.error import UserError

SIDE, SIGMA = 128, 4.0


@pytest.fixture
def photo(photos: Callable[[str], Image.Image]) -> np.ndarray:
    return np.asarray(photos("coffee.png"), dtype=np.float64)


def cut(image: np.ndarray, top: int, left: int) -> torch.Tensor:
    """Return a frame in 0…1: `[1, 3, SIDE, SIDE]`."""
    return torch.from_numpy(image[top : top + SIDE, left : left + SIDE].copy()).permute(2, 0, 1)[None] / 255


def add_noise(frame: torch.Tensor, seed: int, sigma: float = SIGMA) -> torch.Tensor:
    noise = torch.randn(frame.shape, generator=torch.Generator().manual_seed(seed), dtype=frame.dtype)
    return frame * 0.5 + 0.25 + noise * sigma / 255  # far from black and white, so that nothing is clipped


def evaluate(results: list[torch.Tensor], frames: list[torch.Tensor], clips: str = "aaaaaaaaaa") -> dict[str, list]:
    score = Score(Protocol("ntire", 2, "rgb", "rgb", {"w": WarpingError(), "f": Flicker()}))
    for sr, hr, clip in zip(results, frames, clips, strict=False):
        score.update(sr, hr, clip=clip)
    values = score.per_image()
    return {"warping_error": values["warping_error_dis"], "flicker": values["flicker_dis"]}


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (-3, 5)])
def test_a_scene_that_moves_as_a_whole_has_no_warping_error(photo: np.ndarray, shift: tuple[int, int]) -> None:
    blurred = gaussian_filter(photo, (1, 1, 0))
    places = [(100 + k * shift[0], 200 + k * shift[1]) for k in range(3)]
    frames, results = ([cut(image, *place) for place in places] for image in (photo, blurred))
    first, *others = evaluate(results, frames)["warping_error"]
    assert math.isnan(first)
    assert max(others) < 0.5
    if shift != (0, 0):
        assert (results[1] - results[0]).square().mean().sqrt() * 255 > 10 * max(others)


def test_noise_has_the_known_values(photo: np.ndarray) -> None:
    """Two frames of independent noise differ by √2·σ, in the mean of the absolute value by 2σ/√π."""
    still = [cut(photo, 100, 200) * 0.5 + 0.25] * 4
    values = evaluate([add_noise(cut(photo, 100, 200), k) for k in range(4)], still)
    assert values["warping_error"][1:] == pytest.approx([math.sqrt(2) * SIGMA] * 3, rel=0.01)
    assert values["flicker"][1:] == pytest.approx([2 * SIGMA / math.sqrt(math.pi)] * 3, rel=0.01)


def test_a_result_that_flickers_less_than_hr_has_no_flicker(photo: np.ndarray) -> None:
    noisy = [add_noise(cut(photo, 100, 200), k, 2) for k in range(3)]
    assert evaluate(noisy, noisy)["flicker"][1:] == [0, 0]
    still = [cut(photo, 100, 200) * 0.5 + 0.25] * 3
    assert evaluate(still, noisy)["flicker"][1:] == [0, 0]


def test_flicker_is_not_measured_where_everything_moves(photo: np.ndarray) -> None:
    frames = [cut(photo, 100, 200), cut(photo, 103, 200)]
    values = evaluate(frames, frames)
    assert math.isnan(values["flicker"][1])
    assert values["warping_error"][1] < 0.5


def test_a_cut_and_another_clip_have_no_value(photo: np.ndarray) -> None:
    frames = [cut(photo, 100, 200), cut(photo, 100, 200), cut(photo[::-1], 20, 20), cut(photo[::-1], 20, 20)]
    for values in (evaluate(frames, frames), evaluate(frames, frames, "aabb")):
        assert [math.isnan(value) for value in values["warping_error"]] == [True, False, True, False]
    assert all(map(math.isnan, evaluate(frames, frames, [None] * 4)["warping_error"]))


def test_what_was_hidden_is_not_visible(photo: np.ndarray) -> None:
    """A square moves 8 pixels to the right over a background that is still: what it uncovers was hidden before."""
    frames = []
    for left in (40, 48):
        frame = photo[100 : 100 + SIDE, 200 : 200 + SIDE].copy()
        frame[40:88, left : left + 48] = photo[20:68, 400:448]
        frames.append(cut(frame, 0, 0)[0])
    motion = find_motion(frames[1], frames[0])
    assert motion.visible[44:84, 41:47].double().mean() < 0.2  # uncovered
    assert motion.visible[44:84, 60:84].double().mean() > 0.9  # the square
    assert motion.flow[44:84, 60:84].mean(dim=(0, 1)).tolist() == pytest.approx([-8, 0], abs=0.2)
    assert motion.static[:30].double().mean() > 0.95
    assert not motion.static[44:84, 60:84].any()


@pytest.mark.parametrize("flow", [(0.0, 0.0), (3.0, -2.0), (0.5, 0.25)])
def test_warp_interpolates_as_scipy(flow: tuple[float, float]) -> None:
    image = torch.rand(2, 20, 30, dtype=torch.float64)
    everywhere = torch.ones(20, 30, dtype=torch.bool)
    motion = Motion(torch.tensor(flow, dtype=torch.float64).expand(20, 30, 2), everywhere, everywhere)
    rows, columns = np.mgrid[:20, :30].astype(float)
    expected = [map_coordinates(x, [rows + flow[1], columns + flow[0]], order=1, mode="nearest") for x in image.numpy()]
    np.testing.assert_allclose(warp(image, motion).numpy(), expected, atol=1e-12)
    inner = motion.crop(2)
    assert inner.visible.shape == (16, 26)
    assert inner.visible[:, 5:-5].all() == (abs(flow[1]) < 1e-9)  # else rows at an end come from the border


def test_missing_opencv_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"needs OpenCV \(not installed\): pip install 'sr\[video\]'"):
        WarpingError()


@pytest.fixture
def clip(tmp_path: Path, photo: np.ndarray) -> Path:
    """A paths.data with one set of clips: six frames that move one pixel down and two to the right each time."""
    folder = tmp_path / "sets" / "walk"
    folder.mkdir(parents=True)
    for k in range(6):
        frame = photo[100 + k : 164 + k, 200 + 2 * k : 272 + 2 * k]
        Image.fromarray(frame.astype(np.uint8)).save(folder / f"f{k + 6:02d}.png")
    return tmp_path / "sets"


METRICS = "metric/also=[warping_error,flicker]"


def read_sets(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))["sets"]


def list_words(clip: Path) -> tuple[str, ...]:
    return (f"paths.data={clip}", "scale=2", "data.test=[walk]", "track=none", "progress=false")


def test_evaluation_measures_frames_of_a_folder(sr: Any, clip: Path, tmp_path: Path) -> None:
    answer = sr("evaluate", "model/net=bicubic", *list_words(clip), METRICS)
    assert answer.code == 0, answer.err
    assert "HR itself has warping_error_dis" in answer.out
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    result = read_sets(file)["walk"]
    values = [image["warping_error_dis"] for image in result["per_image"].values()]
    assert [value == "nan" for value in values] == [True] + [False] * 5
    assert result["metrics"]["warping_error_dis"] == pytest.approx(np.mean(values[1:]))
    assert "DIS" in result["definitions"]["flicker_dis"]


@pytest.mark.slow(6)
def test_training_gives_the_same_values_as_evaluation(sr: Any, clip: Path, tmp_path: Path) -> None:
    short = ("data=folder", f"data.path={clip}/walk", "data.patch=32", "data.batch=2", "trainer.max_steps=2")
    answer = sr("run", *list_words(clip), METRICS, *short, "data.val=[walk]")
    assert answer.code == 0, answer.err
    (run,) = tmp_path.glob("runs/*")
    trained = json.loads((run / "summary.json").read_text(encoding="utf-8"))["metrics"]
    assert sr("evaluate", f"checkpoint={run}/best.ckpt", *list_words(clip), METRICS).code == 0
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    evaluated = {f"test/walk/{name}": value for name, value in read_sets(file)["walk"]["metrics"].items()}
    assert trained["test/walk/warping_error_dis"] > 0
    assert {name: trained[name] for name in evaluated} == pytest.approx(evaluated)


def test_frames_that_sort_wrongly_are_refused(sr: Any, clip: Path) -> None:
    for k in range(6):
        (clip / "walk" / f"f{k + 6:02d}.png").rename(clip / "walk" / f"f{k + 6}.png")
    words = ("model/net=bicubic", *list_words(clip))
    answer = sr("evaluate", *words, METRICS)
    assert answer.code == 2
    assert "data.test=walk: expected frames whose names sort in their order (found f11.png before f6.png)" in answer.err
    assert sr("evaluate", *words, "metric/also=[]").code == 0  # PSNR does not depend on the order
