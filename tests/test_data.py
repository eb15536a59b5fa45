"""`data=folder`, `pair`, `benchmark` and `sample`: the images that they find, and the errors that they report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from torch import Tensor

from sr.data.benchmark import Benchmark
from sr.data.folder import Folder
from sr.data.module import SRDataModule
from sr.data.pair import PairFolder
from sr.data.sample import Sample
from sr.degrade.bicubic import Bicubic
from sr.runtime.error import UserError

SCALE = 2


def data(kind: type[SRDataModule], tmp_path: Path, **options: Any) -> SRDataModule:
    """Build a source at ×2 with small batches; `options` are those of its YAML."""
    defaults = {
        "scale": SCALE, "color": "rgb", "seed": 0, "root": str(tmp_path), "degrade": Bicubic(SCALE),
        "val": [kind.name] if kind.name else [], "test": [], "batch": 4, "repeat": 4,
    }  # fmt: skip
    return kind(**defaults | options)


def photos(path: Path, count: int = 4) -> Path:
    """Write `count` images p0.png, p1.png … of 48×56 to a folder."""
    for k in range(count):
        write_image(path / f"p{k}.png", seed=k)
    return path


def cut_off(path: Path) -> Path:
    """Cut off the second half of a PNG: its header stays intact, its pixels do not."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def read_error(source: SRDataModule) -> str:
    """Set the source up for training, and return the error that the user reads."""
    with pytest.raises(UserError) as error:
        source.setup("fit")
    return str(error.value)


# data=folder


def test_folder_without_a_path_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path=DIR"):
        data(Folder, tmp_path, path=None, patch=16)


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_or_missing_folder_is_named(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "hr").mkdir()
    expected = "no images in this folder" if made else "there is no such folder"
    assert f"data.path={tmp_path / 'hr'}: {expected}" in read_error(
        data(Folder, tmp_path, path=tmp_path / "hr", patch=16)
    )


def test_a_single_image_cannot_be_held_out_but_can_be_trained_on(tmp_path: Path) -> None:
    photos(tmp_path / "hr", 1)
    photos(tmp_path / "Set5" / "HR", 2)
    assert "no image to hold out" in read_error(data(Folder, tmp_path, path=tmp_path / "hr", patch=16))
    source = data(Folder, tmp_path, path=tmp_path / "hr", patch=16, val=["Set5"])
    source.setup("fit")
    assert len(source.train_set) == 1
    assert next(iter(source.train_dataloader())).hr.shape == (4, 3, 16, 16)


def test_every_tenth_image_is_held_out_and_not_trained_on(tmp_path: Path) -> None:
    source = data(Folder, tmp_path, path=photos(tmp_path / "hr", 21), patch=16)
    source.setup("fit")
    trained, held = source.train_set.images.names, source.eval_sets["val"][0].names
    assert sorted(held) == ["p0", "p18", "p9"]  # by name, p10 … p19 come before p2
    assert sorted(trained + held) == sorted(f"p{k}" for k in range(21))


def test_patch_larger_than_an_image_names_both(tmp_path: Path) -> None:
    write_image(photos(tmp_path / "hr") / "tiny.png", 40, 30)
    message = read_error(data(Folder, tmp_path, path=tmp_path / "hr", patch=32))
    assert "data.patch=32" in message
    assert f"{tmp_path / 'hr' / 'tiny.png'}: 30×40 pixels" in message


def test_patch_must_be_a_multiple_of_the_scale(tmp_path: Path) -> None:
    assert "data.patch=17" in read_error(data(Folder, tmp_path, path=photos(tmp_path / "hr"), patch=17))


def test_a_held_out_image_too_small_to_be_evaluated_is_named_before_training(tmp_path: Path) -> None:
    write_image(photos(tmp_path / "hr") / "a_tiny.png", 12, 40)
    message = read_error(data(Folder, tmp_path, path=tmp_path / "hr", patch=8))
    assert "a_tiny.png: 40×12 pixels, too small to be evaluated" in message


def test_all_damaged_files_of_a_folder_are_named_at_once(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    (folder / "letter.png").write_text("no image")
    write_image(folder / "float.tif", mode="F")
    message = read_error(data(Folder, tmp_path, path=folder, patch=16))
    assert "letter.png" in message
    assert "float.tif: 1 band of float32" in message


def test_all_cut_off_images_are_named_before_training_including_those_held_out(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    for name in ("p0.png", "p2.png"):  # p0 is held out
        cut_off(folder / name)
    message = read_error(data(Folder, tmp_path, path=folder, patch=16))
    assert "p0.png" in message
    assert "p2.png" in message
    assert "p1.png" not in message


def test_folders_can_be_several_by_path_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "sets" / "T91" / "HR")
    photos(tmp_path / "sets" / "BSDS" / "train", 2)
    photos(tmp_path / "mine", 1)
    monkeypatch.chdir(tmp_path)
    places = ["T91", "BSDS/train", "mine", str(photos(tmp_path / "far", 5))]
    source = data(Folder, tmp_path, path=places, patch=16, root=str(tmp_path / "sets"), val=["T91"])
    source.setup("fit")
    names = source.train_set.images.names
    assert len(names) == len(set(names)) == 12
    assert {"HR/p1.png", "train/p1.png", "far/p1.png", "p4"} < set(names)


def test_images_can_be_excluded_by_name(tmp_path: Path) -> None:
    photos(tmp_path / "a")
    for k in range(3):
        write_image(tmp_path / "b" / f"{k}.png", seed=k)
    options = {"path": ["a", "b"], "patch": 16, "root": str(tmp_path), "val": ["a"]}
    source = data(Folder, tmp_path, exclude=["p1", 2, "p3.png"], **options)
    source.setup("fit")
    assert source.train_set.images.names == ["p0", "p2", "0", "1"]
    message = read_error(data(Folder, tmp_path, exclude=["p1", "pp3"], **options))
    assert "data.exclude=pp3: no image of this name in data.path=[a,b]" in message
    assert 'Did you mean "p3' in message
    assert "data.exclude=[p1]" in read_error(data(Folder, tmp_path, exclude="p1", **options))
    everything = [f"p{k}" for k in range(4)] + [0, 1, 2]
    assert "no image of data.path=[a,b] is left" in read_error(data(Folder, tmp_path, exclude=everything, **options))


def test_a_folder_that_is_named_twice_or_misspelled_is_reported(tmp_path: Path) -> None:
    photos(tmp_path / "T91" / "HR")
    options = {"patch": 16, "root": str(tmp_path)}
    assert "twice" in read_error(data(Folder, tmp_path, path=["T91", "T91/HR"], **options))
    assert 'Did you mean "T91"?' in read_error(data(Folder, tmp_path, path=["T92"], **options))


# data=pair


def pairs(tmp_path: Path, ending: str = "", count: int = 4) -> dict[str, Path]:
    """Write HR of 48×56, and LR of every second pixel, so that matching patches have equal pixels."""
    for path in sorted(photos(tmp_path / "hr", count).iterdir()):
        (tmp_path / "lr").mkdir(exist_ok=True)
        with Image.open(path) as image:
            Image.fromarray(np.array(image)[::SCALE, ::SCALE]).save(tmp_path / "lr" / f"{path.stem}{ending}.png")
    return {"hr": tmp_path / "hr", "lr": tmp_path / "lr"}


def test_exclude_is_not_ignored_by_pair(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.exclude=\['p1'\]: data=pair has no such option"):
        data(PairFolder, tmp_path, **pairs(tmp_path), exclude=["p1"], patch=16)


@pytest.mark.parametrize("missing", ["lr", "hr"])
def test_pair_asks_for_both_folders(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match=r"data\.lr=DIR data\.hr=DIR"):
        data(PairFolder, tmp_path, **pairs(tmp_path) | {missing: None}, patch=16)


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("ending", ["", "x2", "_x2", "-x2", "X2"])
def test_lr_patches_belong_to_their_hr_patches_after_turning(tmp_path: Path, ending: str, color: str) -> None:
    source = data(PairFolder, tmp_path, **pairs(tmp_path, ending), patch=16, batch=16, color=color)
    source.setup("fit")
    loader = source.train_dataloader()
    turns = next(iter(loader.sampler)).turn.tolist()
    assert len(set(turns)) > 4
    lr, hr = source.on_after_batch_transfer(next(iter(loader)), 0)
    assert lr.shape == (16, 1 if color == "gray" else 3, 8, 8)
    for k, turn in enumerate(turns):
        down, right = turn >> 1 & 1, turn & 1  # a flip moves the sampled pixel to the other side of its 2×2 block
        if turn & 4:
            down, right = right, down
        assert torch.equal(lr[k], hr[k, :, down::SCALE, right::SCALE]), turn


def test_pair_evaluates_whole_images_with_their_own_lr(tmp_path: Path) -> None:
    source = data(PairFolder, tmp_path, **pairs(tmp_path), patch=16)
    source.setup("fit")
    lr, hr = source.on_after_batch_transfer(next(iter(source.val_dataloader()[0])), 0)
    assert hr.shape == (1, 3, 48, 56)
    assert torch.equal(lr, hr[..., ::SCALE, ::SCALE])


def test_all_errors_of_pairs_are_named_at_once(tmp_path: Path) -> None:
    folders = pairs(tmp_path, count=7)
    lr, hr = folders["lr"], folders["hr"]
    write_image(lr / "p0.png", 20, 28)
    (lr / "p1.png").unlink()
    (hr / "p2.png").unlink()
    write_image(lr / "p3.png", 24, 28, mode="L")
    (lr / "p4.png").write_text("no image")
    message = read_error(data(PairFolder, tmp_path, **folders, patch=16))
    assert "5 error(s)" in message
    assert f"{lr / 'p0.png'}: 28×20, but p0.png is 56×48: at scale=2, 28×24 was expected" in message
    assert f"{hr / 'p1.png'}: no LR image of this name" in message
    assert f"{lr / 'p2.png'}: no HR image of this name" in message
    assert f"{lr / 'p3.png'}: gray, but p3.png is color" in message
    assert f"{lr / 'p4.png'}: this is not an image" in message
    assert "p5" not in message


# data=benchmark


def test_benchmark_finds_a_set_with_or_without_hr_folder_or_by_path(tmp_path: Path) -> None:
    photos(tmp_path / "Set5" / "HR")
    elsewhere = photos(tmp_path / "far" / "Own", 2)
    source = data(Benchmark, tmp_path, val=[], test=["Set5", str(elsewhere), "far/Own"])
    source.setup("test")
    assert [len(chosen) for chosen in source.eval_sets["test"]] == [4, 2, 2]
    assert [source.set_name("test", k) for k in range(3)] == ["Set5", "Own", "Own"]


def test_the_error_for_a_missing_set_names_the_folders_that_were_searched(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        data(Benchmark, tmp_path, test=["Set6"]).setup("test")
    for word in ("data.test=Set6", str(tmp_path / "Set6" / "HR"), "SR_DATA"):
        assert word in str(error.value)


def test_hr_is_cropped_to_a_multiple_of_the_scale_at_the_bottom_and_right(tmp_path: Path) -> None:
    path = write_image(tmp_path / "odd" / "a.png", 49, 57)
    source = data(Benchmark, tmp_path, test=["odd"])
    source.setup("test")
    lr, hr = source.on_after_batch_transfer(next(iter(source.test_dataloader()[0])), 0)
    assert (lr.shape, hr.shape) == ((1, 3, 24, 28), (1, 3, 48, 56))
    with Image.open(path) as image:
        assert np.array_equal((hr[0] * 255).round().permute(1, 2, 0), np.array(image)[:48, :56])


# data=sample


def test_no_image_of_sample_is_in_two_sets(tmp_path: Path) -> None:
    source = data(Sample, tmp_path, patch=16, val=["sample"], test=["sample"])
    source.setup("fit")
    source.setup("test")
    parts = [source.train_set.images, source.eval_sets["val"][0], source.eval_sets["test"][0]]
    assert [len(part) for part in parts] == [8, 2, 3]
    assert len({name for part in parts for name in part.names}) == 13

    def content(image: Tensor) -> bytes:
        return image.numpy().tobytes()

    assert len({content(part[k].hr) for part in parts for k in range(len(part))}) == 13
