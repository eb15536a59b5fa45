"""`data=geotiff`: scenes of many bands, their range, split and masks; training, evaluation and prediction with all bands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scenes import make_bands, write_scene

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sr[satellite]'")

from sr.data.geotiff import GAP, GeoTiff  # noqa: E402
from sr.data.scene_window import SceneWindow  # noqa: E402
from sr.degrade.bicubic import Bicubic  # noqa: E402
from sr.image.batch import Raw  # noqa: E402
from sr.metric.protocol import Protocol  # noqa: E402
from sr.runtime.error import UserError  # noqa: E402

BANDS = ("data=geotiff", "color=bands", "channels=4", "data.range=[0,5000]", "metric.depth=16", "data/degrade=mtf")
ALL_TRAIN: dict[str, Any] = {"val": [], "test": []}
SHORT = ("trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch=2", "data.patch=32", "track=none",
         "model.net.width=8", "progress=false")  # fmt: skip


def create_source(root: Path, **options: Any) -> GeoTiff:
    """Return a source on `root` for ×2 and four bands, as `sr.run` builds it."""
    known = {"path": str(root), "channels": 4, "range": [0, 5000], "val": ["geotiff"], "test": ["geotiff"], "patch": 16}
    known |= {"scale": 2, "color": "bands", "seed": 0, "root": str(root), "degrade": Bicubic(2), "block": 48}
    source = GeoTiff(**(known | options))
    source.set_protocol(Protocol("edsr", 2, "bands", depth=16, range=(known | options)["range"]))
    return source


def open_source(root: Path, **options: Any) -> GeoTiff:
    source = create_source(root, **options)
    source.setup("fit")
    source.setup("test")
    return source


def list_parts(source: GeoTiff, split: str) -> list[SceneWindow]:
    return list(source.find_images(split).hr)


def test_levels_are_values_in_the_range(tmp_path: Path) -> None:
    """0 and 5000 become 0 and 65535, to the nearest level; what is beyond is cut off."""
    values = make_bands()
    values[0, 0, :3] = 0, 5000, 9000
    source = open_source(write_scene(tmp_path / "a.tif", values).parent, **ALL_TRAIN)
    raw = source.train_set.images[0]
    assert raw.hr.dtype == torch.uint16 and raw.hr.shape[0] == 4
    assert raw.hr[0, 0, :3].tolist() == [0, 65535, 65535]
    expected = np.floor(np.minimum(values[:, : raw.hr.shape[1]] / 5000, 1) * 65535 + 0.5)
    assert np.array_equal(raw.hr.numpy(), expected)
    assert raw.valid is None


def test_floats_signed_numbers_and_bytes(tmp_path: Path) -> None:
    """float32 and int16 are mapped as uint16 is; uint8 without a range stays as it is."""
    values = make_bands().astype(np.float32) / 10_000 - 0.1
    write_scene(tmp_path / "f" / "a.tif", values)
    raw = open_source(tmp_path / "f", range=[-0.1, 0.4], **ALL_TRAIN).train_set.images[0]
    assert np.abs(raw.hr.numpy() / 65535 - (values[:, : raw.hr.shape[1]] + 0.1) / 0.5).max() < 1e-5
    write_scene(tmp_path / "i" / "a.tif", make_bands().astype(np.int16) - 3000)
    raw = open_source(tmp_path / "i", range=[-3000, 2000], **ALL_TRAIN).train_set.images[0]
    assert np.abs(raw.hr.numpy() / 65535 - make_bands()[:, : raw.hr.shape[1]] / 5000).max() < 1e-5
    write_scene(tmp_path / "b" / "a.tif", (make_bands() // 20).astype(np.uint8), photometric="minisblack")
    source = create_source(tmp_path / "b", range=None, **ALL_TRAIN)
    source.set_protocol(Protocol("edsr", 2, "bands"))
    source.setup("fit")
    assert np.array_equal(source.train_set.images[0].hr, make_bands()[:, : source.train_set.images.sizes[0][0]] // 20)


def test_bands_are_chosen_in_any_order(tmp_path: Path) -> None:
    values = make_bands(6)
    write_scene(tmp_path / "a.tif", values)
    raw = open_source(tmp_path, bands=[5, 2, 1, 6], **ALL_TRAIN).train_set.images[0]
    assert np.array_equal(raw.hr, np.floor(values[[4, 1, 0, 5], : raw.hr.shape[1]] / 5000 * 65535 + 0.5))


def test_scenes_are_never_divided_between_sets(tmp_path: Path) -> None:
    for k in range(4):
        write_scene(tmp_path / f"s{k}.tif", make_bands(seed=k))
    source = create_source(tmp_path)
    scenes = {split: {part.path.name for part in list_parts(source, split)} for split in ("train", "val", "test")}
    assert scenes == {"test": {"s0.tif"}, "val": {"s1.tif"}, "train": {"s2.tif", "s3.tif"}}
    assert "held out are test: s0; val: s1" in source.describe_own_set("test")
    two = create_source(tmp_path, path=[str(tmp_path / "s0.tif"), str(tmp_path / "s1.tif")])
    assert {part.path.name for part in list_parts(two, "train")} == {"s1.tif"}
    assert list_parts(two, "val") == list_parts(two, "test")
    all_train = create_source(tmp_path, val=[], test=[])
    assert len(list_parts(all_train, "train")) == 4


@pytest.mark.parametrize("height", [160, 203])
def test_of_one_scene_rows_are_held_out(tmp_path: Path, height: int, capsys: pytest.CaptureFixture) -> None:
    """The sets are contiguous, separated, together nearly the scene, and this is printed."""
    write_scene(tmp_path / "a.tif", make_bands(height=height))
    source = create_source(tmp_path)
    rows = {}
    for split in ("train", "val", "test"):
        windows = [part.window for part in list_parts(source, split)]
        rows[split] = range(min(w.top for w in windows), max(w.top + w.height for w in windows))
        assert sum(w.height * w.width for w in windows) == len(rows[split]) * 80
    assert rows["train"].start == 0 and rows["test"].stop == height
    assert rows["val"].start - rows["train"].stop == rows["test"].start - rows["val"].stop == GAP
    assert len(rows["test"]) == pytest.approx(0.2 * height, abs=2)
    assert "the numbers say nothing of other scenes" in capsys.readouterr().err
    assert all(w.window.top % 2 == 0 for w in list_parts(source, "test"))


def test_a_test_scene_that_is_trained_on_is_an_error(tmp_path: Path) -> None:
    for k in range(2):
        write_scene(tmp_path / f"s{k}.tif", make_bands(seed=k))
    source = create_source(tmp_path, val=[], test=[str(tmp_path / "s1.tif")])
    source.setup("fit")
    with pytest.raises(UserError, match=r"s1\.tif is in data\.path as well"):
        source.setup("test")
    other = create_source(tmp_path, path=str(tmp_path / "s0.tif"), val=[], test=["s1.tif"])
    other.setup("test")
    assert len(other.eval_sets["test"][0]) == 4


@pytest.mark.parametrize("kind", ["nodata", "nan", "mask"])
def test_pixels_without_data_are_in_no_patch(tmp_path: Path, kind: str) -> None:
    """Of a nodata value, NaN or an internal mask; and evaluated parts without any data are left out."""
    values = make_bands(height=144, width=144)
    hole = (slice(20, 40), slice(60, 90))
    values[:, :48, :48] = 0
    values[:, *hole] = 0
    if kind == "nan":
        values = np.where(values == 0, np.nan, values).astype(np.float32)
    path = write_scene(tmp_path / "a.tif", values, **({"nodata": 0} if kind == "nodata" else {}))
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(values[0] != 0)
    write_scene(tmp_path / "b.tif", make_bands(height=144, width=144, seed=1))
    source = open_source(tmp_path, path=[str(tmp_path / "b.tif"), str(path)])
    lowest = values[values > 0].min() / 5000 * 65535
    count = 0
    for draw in source.train_dataloader().sampler:
        raw = source.train_set[draw]
        assert raw.hr.float().min() >= lowest - 1
        count += len(raw.hr)
    assert count >= 16
    own = create_source(tmp_path, val=[], test=["a.tif"], path=None)
    own.setup("test")
    images = own.eval_sets["test"][0]
    assert len(images) == 8  # of nine: the upper left one has no data
    raw: Raw = images[images.names.index("a_0_48_48x48")]
    assert raw.valid.sum() == 48 * 48 - 20 * 30 and not raw.valid[0, 25, 20]
    pair = own.on_after_batch_transfer(images[[0]], 0)
    assert pair.hr.isnan().sum() == 4 * 20 * 30 and pair.lr.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": None}, r"data\.range=\[\d+,\d+\]"),
        ({"channels": 3}, r"expected 3 bands, for color=bands \(found 4\)"),
        ({"color": "rgb"}, r"type color=bands channels=4"),
        ({"path": None}, "data.path=DIR"),
        ({"path": "none.tif"}, "there is no such folder"),
        ({"bands": [1, 2, 3, 9]}, "bands="),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_scene(tmp_path / "a.tif", make_bands())
    with pytest.raises(UserError, match=message):
        create_source(tmp_path, **options).find_images("train")


@pytest.mark.slow(2)
def test_train_evaluate_and_predict_all_bands(tmp_path: Path, sr: Any) -> None:
    """One command after another, as a user types them; the range of the training is that of all."""
    train, other = (write_scene(tmp_path / "data" / f"s{k}.tif", make_bands(seed=k)) for k in range(2))
    words = (*BANDS, f"data.path={train}", "data.val=[]", f"data.test=[{other}]", "metric/also=[sam,ergas]", *SHORT)
    answer = sr("run", *words, "data.block=40")
    assert answer.code == 0, answer.err
    (folder,) = (tmp_path / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert "val" not in str(summary.get("best", ""))
    checkpoint = folder / "last.ckpt"

    answer = sr("evaluate", f"checkpoint={checkpoint}", "data=geotiff", f"data.test=[{other}]", "metric.depth=16",
                "data/degrade=mtf", "data.block=40", "metric/also=[sam,ergas]", "uncertainty=true", "track=none")  # fmt: skip
    assert answer.code == 0, answer.err
    (file,) = (path for path in (tmp_path / "runs").rglob("evaluate.json"))
    (result,) = json.loads(file.read_text(encoding="utf-8"))["sets"].values()
    assert result["protocol"]["range"] == "0…5000" and result["protocol"]["psnr"] == "peak 5000, mean of images"
    assert result["count"] == 4 and result["metrics"]["sam"] < 10

    answer = sr(
        "predict", f"checkpoint={checkpoint}", f"input={other}", f"output={tmp_path / 'out'}", "uncertainty=true"
    )
    assert answer.code == 0, answer.err
    with rasterio.open(tmp_path / "out" / "s1_x2.tif") as result, rasterio.open(other) as source:
        assert (result.count, result.shape, result.dtypes[0]) == (4, (192, 160), "uint16")
        assert result.bounds == source.bounds and result.crs == source.crs
        means = result.read().reshape(4, 96, 2, 80, 2).mean(axis=(2, 4))
        assert np.abs(means - source.read())[:, 4:-4, 4:-4].mean() < 60  # near bicubic: nearly untrained
    assert "one by one" not in answer.err

    answer = sr("predict", f"checkpoint={checkpoint}", f"input={other}", "bands=[1,2,3]", f"output={tmp_path / 'o'}")
    assert answer.code != 0 and "expected 4 bands, which this network upscales together (found 3)" in answer.err
    answer = sr("evaluate", f"checkpoint={checkpoint}", "data=geotiff", f"data.test=[{other}]", "metric.depth=16",
                "data.range=[0,9000]", "track=none")  # fmt: skip
    assert answer.code != 0 and "data.range=[0, 9000]: expected data.range=[0, 5000]" in answer.err


def test_the_same_patches_from_the_cache(tmp_path: Path) -> None:
    """Scenes that do not fit in memory are mapped, with their masks; another range has entries of its own."""
    values = make_bands(height=144)
    values[:, 30:50, 30:50] = 0
    for k in range(2):
        write_scene(tmp_path / "data" / f"s{k}.tif", values, nodata=0)
    images = {}
    for memory, limits in ((4, [0, 5000]), (0, [0, 5000]), (0, [0, 9000])):
        source = open_source(tmp_path / "data", memory=memory, cache=str(tmp_path / "cache"), range=limits)
        assert source.train_set.is_mapped == (memory == 0)
        images[memory, limits[1]] = source.train_set.images[0]
    in_memory, mapped = images[4, 5000], images[0, 5000]
    assert all(torch.equal(getattr(in_memory, x), getattr(mapped, x)) for x in ("hr", "lr", "valid"))
    assert not torch.equal(images[0, 9000].hr, mapped.hr)
