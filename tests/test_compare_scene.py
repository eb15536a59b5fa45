"""Which images a comparison shows, which crops, and that their pixels are exact."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr.comparison.run import ComparedRun, Group, SetScore, Table, TableRow
from sr.comparison.scene import ComparedImage, build_scene, encode_image, find_largest
from sr.comparison.selection import select_images, select_run


def make_row(name: str, seeds: list[dict[str, float]]) -> TableRow:
    """Return a group whose runs have these PSNRs by image."""
    runs, scores = [], []
    for seed, values in enumerate(seeds):
        per_image = {image: {"psnr": value, "bicubic_psnr": 20.0} for image, value in values.items()}
        means = {"psnr": sum(values.values()) / len(values)}
        scores.append(SetScore(set="Set3", protocol={"scale": 2}, means=means, bicubic={}, per_image=per_image,
                               folder=Path(f"{name}-{seed}")))  # fmt: skip
        runs.append(ComparedRun(id=f"{name}-{seed}", name=f"{name}-{seed}", seed=seed))
    return TableRow(name=name, cells={}, group=Group(name=name, runs=runs), runs=runs, scores=scores)


def make_table(*rows: TableRow) -> Table:
    images = list(rows[0].scores[0].per_image)
    return Table(
        set="Set3", scale=2, protocol={}, images=images, digest=None, measures=[], rows=list(rows), reference=""
    )


def test_images_with_the_largest_disagreement_of_the_means_come_first() -> None:
    a = make_row("a", [{"x": 30.0, "y": 30.0, "z": 30.0}, {"x": 31.0, "y": 30.0, "z": 30.0}])
    b = make_row("b", [{"x": 30.6, "y": 29.0, "z": 30.2}])
    table = make_table(a, b)  # the means differ by 0.1, 1.0 and 0.2 dB
    assert select_images([table], 2) == [["y", "z"]]
    assert select_images([table], None) == [["y", "z", "x"]]
    assert select_images([table], 0) == [[]]


def test_one_group_is_compared_with_bicubic_and_infinite_values_do_not_count() -> None:
    table = make_table(make_row("a", [{"x": 21.0, "y": 25.0, "z": float("inf")}]))
    assert select_images([table], 3) == [["y", "x", "z"]]  # of z only bicubic has a finite value


def test_each_table_has_an_image_before_one_has_two() -> None:
    near = make_table(make_row("a", [{"x": 30.0, "y": 30.0}]), make_row("b", [{"x": 30.1, "y": 30.0}]))
    far = make_table(make_row("a", [{"x": 30.0, "y": 30.0}]), make_row("b", [{"x": 35.0, "y": 34.0}]))
    assert select_images([near, far], 2) == [["x"], ["x"]]
    assert select_images([near, far], 3) == [["x"], ["x", "y"]]
    assert select_images([near, far], 1) == [[], ["x"]]


@pytest.mark.parametrize(
    ("psnrs", "seed"), [([30.0], 0), ([30.0, 31.0], 0), ([31.0, 30.0], 1), ([29.0, 31.0, 30.0], 2)]
)
def test_the_run_of_median_psnr_stands_for_its_group(psnrs: list[float], seed: int) -> None:
    run, score = select_run(make_row("a", [{"x": psnr} for psnr in psnrs]))
    assert run.seed == seed and score.means["psnr"] == psnrs[seed]


def test_a_row_without_images_of_its_own_has_no_run() -> None:
    assert select_run(TableRow(name="IMDN", kind="published", cells={})) is None
    row = make_row("a", [{"x": 30.0}])
    row.scores[0].per_image = {}
    assert select_run(row) is None


def test_the_box_of_the_largest_sum_is_on_the_grid_of_lr() -> None:
    values = np.zeros((12, 18))
    values[7, 11] = 1.0
    assert find_largest(values, 6, 3, 3) == (6, 6, 6, 3)  # left, top, width, height: the first that has the point
    assert find_largest(values, 100, 100, 3) == (0, 0, 18, 12)
    assert find_largest(values, 7, 4, 3) == (6, 6, 6, 3)


def decode(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def make_image() -> ComparedImage:
    random = np.random.default_rng(0)
    hr = random.integers(0, 256, (180, 240, 3), dtype=np.uint8)
    a, b = hr.copy(), hr.copy()
    a[120:150, 180:210] = 0  # the results differ here alone
    return ComparedImage("x", hr[::2, ::2], hr, {"bicubic": hr // 2, "a": a, "b": b})


def test_a_whole_image_is_stored_without_loss() -> None:
    image = make_image()
    scene = build_scene(image, None)
    assert scene["crop"] == {"left": 0, "top": 0, "width": 240, "height": 180}
    assert list(scene["images"]) == ["lr", "bicubic", "a", "b", "hr"]
    for key, pixels in image.list_images().items():
        assert (decode(scene["images"][key]) == pixels).all()


def test_a_crop_is_where_results_differ_and_has_at_most_so_many_bytes() -> None:
    image, limit = make_image(), 250_000
    assert sum(len(encode_image(pixels)) for pixels in image.list_images().values()) > 2 * limit
    scene = build_scene(image, limit)
    crop = scene["crop"]
    assert 100_000 < sum(map(len, scene["images"].values())) <= limit
    assert crop["left"] <= 180 and crop["left"] + crop["width"] >= 210  # the whole part that differs
    assert crop["top"] <= 120 and crop["top"] + crop["height"] >= 150
    assert all(value % 2 == 0 for value in crop.values())
    lr = decode(scene["images"]["lr"])
    assert lr.shape == (crop["height"] // 2, crop["width"] // 2, 3)
    assert (lr[0, 0] == image.lr[crop["top"] // 2, crop["left"] // 2]).all()
    spot = scene["spot"]
    assert 180 <= crop["left"] + spot["x"] <= 210 and 120 <= crop["top"] + spot["y"] <= 150
