"""`sr.evaluate profile=degrade`: the conditions against other programs, the table, evaluate.json, and the errors."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Answer, write_image
from PIL import Image
from scipy import ndimage

from sr.comparison.profile import add_profile_notes, draw_profiles
from sr.comparison.run import Group, SetScore, Table, TableRow
from sr.image.resize import imresize
from sr.profile.degrade import Condition, Degrade
from sr.profile.row import average_profiles, describe_limits
from sr.record.result import read_set_results


def find_condition(label: str, scale: int = 2) -> Condition:
    return next(condition for condition in Degrade(scale).list_conditions() if condition.label == label)


def draw_image() -> np.ndarray:
    """Return a smooth image with noise `[96, 64, 3]`, uint8."""
    generator = np.random.default_rng(0)
    return np.clip(ndimage.gaussian_filter(generator.normal(128, 400, (96, 64, 3)), (3, 3, 0)), 0, 255).astype(np.uint8)


def degrade(label: str, image: np.ndarray, scale: int = 2) -> np.ndarray:
    """Return the LR `[h, w, 3]` of a condition, after a look at its type."""
    lr = find_condition(label, scale)(torch.from_numpy(image).movedim(-1, 0)[None], torch.tensor([7]))
    assert lr.dtype == torch.uint8
    return lr[0].movedim(0, -1).numpy()


def reduce_image(image: np.ndarray) -> np.ndarray:
    return imresize(torch.from_numpy(image).movedim(-1, 0), 1 / 2).movedim(0, -1).numpy()


def test_conditions_agree_with_other_programs() -> None:
    hr = draw_image()
    lr = reduce_image(hr)
    assert (degrade("clean", hr) == lr).all()
    for kernel, code in (("bicubic", cv2.INTER_CUBIC), ("area", cv2.INTER_AREA)):
        expected = cv2.resize(hr, (32, 48), interpolation=code)
        assert np.abs(degrade(f"kernel {kernel}", hr).astype(int) - expected).max() <= 1
    file = io.BytesIO()
    Image.fromarray(lr).save(file, "JPEG", quality=60)
    assert np.abs(degrade("jpeg quality 60", hr).astype(int) - np.asarray(Image.open(file))).mean() < 0.05
    blurred = ndimage.gaussian_filter(hr.astype(float), (1.5, 1.5, 0), mode="mirror")
    expected = imresize(torch.from_numpy(blurred).movedim(-1, 0), 1 / 2).movedim(0, -1).numpy()
    assert np.abs(degrade("blur σ 1.5", hr) - expected).max() < 0.6


def test_noise_and_another_scale() -> None:
    gray = np.full((256, 256, 3), 128, np.uint8)
    noise = degrade("noise σ 10", gray).astype(float) - 128
    assert abs(noise.mean()) < 0.3 and abs(noise.std() - 10) < 0.3
    assert (degrade("noise σ 10", gray) == degrade("noise σ 10", gray)).all()  # of one seed
    hr = draw_image()
    again = np.asarray(
        Image.fromarray(hr).resize((16, 24), Image.Resampling.BICUBIC).resize((32, 48), Image.Resampling.BICUBIC)
    )
    assert np.abs(degrade("upscaled × 2", hr)[4:-4, 4:-4].astype(float) - again[4:-4, 4:-4]).mean() < 1


def test_conditions_ascend() -> None:
    conditions = Degrade(4, blur=[2, 1], noise=[], jpeg=[40, 90], kernel=["area"], upscaled=[1.5]).list_conditions()
    expected = ["clean", "blur σ 1", "blur σ 2", "jpeg quality 90", "jpeg quality 40", "kernel area", "upscaled × 1.5"]
    assert [condition.label for condition in conditions] == expected


def test_where_a_net_falls_below_bicubic() -> None:
    def row(kind: str, label: str, psnr: float) -> dict[str, str | float]:
        return {"kind": kind, "label": label, "psnr": psnr, "bicubic_psnr": 30.0}

    rows = [
        row("clean", "clean", 32), row("blur", "blur σ 1", 31), row("noise", "noise σ 2", 31), row("noise", "noise σ 5", 29.9),
        row("noise", "noise σ 10", 25), row("kernel", "kernel area", 29), row("kernel", "kernel bicubic", 28),
    ]  # fmt: skip
    expected = "Set5: falls below bicubic at noise σ 5, kernel area, kernel bicubic; not with blur"
    assert describe_limits("Set5", rows) == expected
    assert describe_limits("Set5", rows[:3]) == "Set5: never below bicubic"


def test_mean_over_runs() -> None:
    def make_rows(*values: tuple[str, float]) -> list[dict[str, str | float]]:
        return [
            {"kind": "noise", "label": x, "psnr": v, "ssim": v / 40, "bicubic_psnr": 30.0, "bicubic_ssim": 0.8}
            for x, v in values
        ]

    mean = average_profiles(
        [make_rows(("noise σ 2", 31), ("noise σ 5", 29)), make_rows(("noise σ 5", 30), ("noise σ 9", 28))]
    )
    assert mean == make_rows(("noise σ 5", 29.5))
    assert average_profiles([]) == []


def test_chart_of_profiles() -> None:
    def make_table_row(name: str, *differences: float) -> TableRow:
        labels = ("clean", "noise σ 2", "noise σ 5", "kernel area")
        rows = [{"kind": label.split()[0], "label": label, "psnr": 30 + x, "ssim": 0.8, "bicubic_psnr": 30.0, "bicubic_ssim": 0.8}
                for label, x in zip(labels, differences, strict=True)]  # fmt: skip
        score = SetScore(set="Set5", protocol={}, means={}, bicubic={}, per_image={}, profile=rows)
        return TableRow(name=name, cells={}, scores=[score])

    rows = [make_table_row("a", 3, 1, -2, 1), make_table_row("b", 2, 1.5, 0.5, -1)]
    table = Table(set="Set5", scale=2, protocol={}, digest=None, images=[], measures=[], rows=rows, reference="bicubic")
    figure = draw_profiles([table], [Group(name="a", runs=[]), Group(name="b", runs=[])])
    shown = [trace for trace in figure.data if trace.visible]
    assert [(trace.name, list(trace.y)) for trace in shown] == [
        ("a", [3, 1, -2]),
        ("b", [2, 1.5, 0.5]),
        ("bicubic", [0, 0, 0]),
    ]
    assert list(shown[0].x) == ["clean", "noise σ 2", "noise σ 5"]
    assert [button.label.split(",")[0] for button in figure.layout.updatemenus[0].buttons] == ["noise", "kernel"]
    add_profile_notes(table)
    assert table.notes == [
        "a: falls below bicubic at noise σ 5; not with kernel",
        "b: falls below bicubic at kernel area; not with noise",
    ]
    table.rows[0].scores[0].profile = table.rows[1].scores[0].profile = []
    assert draw_profiles([table], []) is None


KINDS = ("profile.blur=[]", "profile.noise=[5]", "profile.jpeg=[]", "profile.kernel=[area]", "profile.upscaled=[2]")


def evaluate(sr: Callable, folder: Path, *words: str) -> Answer:
    """Evaluate with a profile on two images in `folder`/Set5."""
    for k in range(2):
        write_image(folder / "Set5" / "HR" / f"s{k}.png", seed=k)
    sets = ("scale=2", "data.test=[Set5]", f"paths.data={folder}", "track=none", "metric/also=[]", "profile=degrade")
    return sr("evaluate", *sets, *words)


def test_evaluation_with_a_profile(sr: Callable, tmp_path: Path) -> None:
    answer = evaluate(sr, tmp_path, "model/net=bicubic", *KINDS)
    assert answer.code == 0, answer.err
    assert "Set5: never below bicubic" in answer.out
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    result = read_set_results(file)["Set5"]
    assert [row["label"] for row in result.profile] == ["clean", "noise σ 5", "kernel area", "upscaled × 2"]
    assert all(row["psnr"] == row["bicubic_psnr"] for row in result.profile)
    assert result.profile[0]["psnr"] == result.metrics["psnr"]
    assert result.profile[1]["psnr"] < result.profile[0]["psnr"] - 0.1


def test_result_images_have_no_profile(sr: Callable, tmp_path: Path) -> None:
    answer = evaluate(sr, tmp_path, f"images={tmp_path}/Set5/HR")
    assert answer.code == 2 and "leave profile out" in answer.err


@pytest.mark.slow
def test_profiles_are_compared(sr: Callable, tmp_path: Path) -> None:
    """Under metric=vdsr too, where the LR of the evaluation itself is not rounded."""
    answer = evaluate(sr, tmp_path, "model/net=bicubic", "color=y", "metric=vdsr", *KINDS)
    assert answer.code == 0, answer.err
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    answer = sr("compare", str(file), "track=none", "images=0", f"output={tmp_path}/out")
    assert "never below bicubic" in answer.out, answer.err
    assert "PSNR above bicubic, dB" in (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
