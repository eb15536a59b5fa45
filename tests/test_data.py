"""`data=folder`, `pair`, `benchmark` and `sample`: what they refuse and how, and the chance that draws the patches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image
from torch import Tensor

from sr.data.benchmark import Benchmark
from sr.data.folder import Folder
from sr.data.module import SRData, turned
from sr.data.pair import PairFolder
from sr.data.patches import Draws
from sr.data.sample import Sample
from sr.degrade.bicubic import Bicubic
from sr.error import UserError
from sr.pair import Raw

SCALE = 2


def data(kind: type[SRData], tmp_path: Path, **dials: Any) -> SRData:
    """A source at ×2 with small patches; `dials` are those of its YAML."""
    usual = {
        "scale": SCALE, "color": "rgb", "seed": 0, "root": str(tmp_path), "degrade": Bicubic(SCALE),
        "val": [kind.name] if kind.name else [], "test": [], "batch": 4, "repeat": 4,
    }  # fmt: skip
    return kind(**usual | dials)


def photos(path: Path, count: int = 4) -> Path:
    for k in range(count):
        picture(path / f"p{k}.png", seed=k)
    return path


def cut_off(path: Path) -> Path:
    """Half of a PNG: its header is whole, its pixels are not."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def fault(source: SRData) -> str:
    """What the user reads when this source is made ready for training."""
    with pytest.raises(UserError) as error:
        source.setup("fit")
    return str(error.value)


# data=folder


def test_folder_without_a_path_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path=DIR"):
        data(Folder, tmp_path, path=None, patch=16)


@pytest.mark.parametrize("made", [True, False])
def test_empty_or_missing_folder_is_named(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "hr").mkdir()
    expected = "no images in this folder" if made else "there is no such folder"
    assert f"data.path={tmp_path / 'hr'}: {expected}" in fault(data(Folder, tmp_path, path=tmp_path / "hr", patch=16))


def test_a_single_image_cannot_be_held_out_but_can_be_trained_on(tmp_path: Path) -> None:
    photos(tmp_path / "hr", 1)
    photos(tmp_path / "Set5" / "HR", 2)
    assert "one image only" in fault(data(Folder, tmp_path, path=tmp_path / "hr", patch=16))
    source = data(Folder, tmp_path, path=tmp_path / "hr", patch=16, val=["Set5"])
    source.setup("fit")
    assert len(source.train_set) == 1
    assert next(iter(source.train_dataloader())).hr.shape == (4, 3, 16, 16)


def test_every_tenth_picture_is_held_out_and_not_trained_on(tmp_path: Path) -> None:
    source = data(Folder, tmp_path, path=photos(tmp_path / "hr", 21), patch=16)
    source.setup("fit")
    trained, held = source.train_set.pictures.names, source.eval_sets["val"][0].names
    assert sorted(held) == ["p0", "p18", "p9"]  # by name, p10 … p19 come before p2
    assert sorted(trained + held) == sorted(f"p{k}" for k in range(21))


def test_patch_larger_than_an_image_names_both(tmp_path: Path) -> None:
    picture(photos(tmp_path / "hr") / "tiny.png", 40, 30)
    message = fault(data(Folder, tmp_path, path=tmp_path / "hr", patch=32))
    assert "data.patch=32" in message
    assert "tiny (30×40)" in message


def test_patch_must_be_a_multiple_of_the_scale(tmp_path: Path) -> None:
    assert "data.patch=17" in fault(data(Folder, tmp_path, path=photos(tmp_path / "hr"), patch=17))


def test_a_held_out_image_too_small_to_be_measured_is_named_before_training(tmp_path: Path) -> None:
    picture(photos(tmp_path / "hr") / "a_tiny.png", 12, 40)
    message = fault(data(Folder, tmp_path, path=tmp_path / "hr", patch=8))
    assert "a_tiny (40×12) is too small" in message


def test_all_faults_of_a_folder_are_named_at_once(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    (folder / "letter.png").write_text("I am no picture")
    picture(folder / "print.jpg", mode="CMYK")
    message = fault(data(Folder, tmp_path, path=folder, patch=16))
    assert "letter.png" in message
    assert "print.jpg" in message


def test_all_cut_off_pictures_are_named_before_training_those_held_out_too(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    for name in ("p0.png", "p2.png"):  # p0 is held out
        cut_off(folder / name)
    message = fault(data(Folder, tmp_path, path=folder, patch=16))
    assert "p0.png" in message
    assert "p2.png" in message
    assert "p1.png" not in message


# data=pair


def pairs(tmp_path: Path, ending: str = "", count: int = 4) -> dict[str, Path]:
    """HR of 48×56 and LR of every second pixel: what belongs together can be told by looking."""
    for path in sorted(photos(tmp_path / "hr", count).iterdir()):
        (tmp_path / "lr").mkdir(exist_ok=True)
        with Image.open(path) as image:
            Image.fromarray(np.array(image)[::SCALE, ::SCALE]).save(tmp_path / "lr" / f"{path.stem}{ending}.png")
    return {"hr": tmp_path / "hr", "lr": tmp_path / "lr"}


@pytest.mark.parametrize("missing", ["lr", "hr"])
def test_pair_asks_for_both_folders(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UserError, match=r"data\.lr=DIR data\.hr=DIR"):
        data(PairFolder, tmp_path, **pairs(tmp_path) | {missing: None}, patch=16)


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("ending", ["", "x2", "_x2", "-x2", "X2"])
def test_lr_patches_belong_to_their_hr_patches_after_turning(tmp_path: Path, ending: str, color: str) -> None:
    source = data(PairFolder, tmp_path, **pairs(tmp_path, ending), patch=16, batch=16, color=color)
    source.setup("fit")
    raw = next(iter(source.train_dataloader()))
    assert len(raw.turn.unique()) > 4
    lr, hr = source.on_after_batch_transfer(raw, 0)
    assert lr.shape == (16, 1 if color == "gray" else 3, 8, 8)
    for k, turn in enumerate(raw.turn.tolist()):
        down, right = turn >> 1 & 1, turn & 1  # a flip moves the kept pixel to the other side of its 2×2
        if turn & 4:
            down, right = right, down
        assert torch.equal(lr[k], hr[k, :, down::SCALE, right::SCALE]), turn


def test_pair_measures_whole_pictures_with_their_own_lr(tmp_path: Path) -> None:
    source = data(PairFolder, tmp_path, **pairs(tmp_path), patch=16)
    source.setup("fit")
    lr, hr = source.on_after_batch_transfer(next(iter(source.val_dataloader()[0])), 0)
    assert hr.shape == (1, 3, 48, 56)
    assert torch.equal(lr, hr[..., ::SCALE, ::SCALE])


def test_all_faults_of_pairs_are_named_at_once(tmp_path: Path) -> None:
    folders = pairs(tmp_path, count=7)
    lr, hr = folders["lr"], folders["hr"]
    picture(lr / "p0.png", 20, 28)
    (lr / "p1.png").unlink()
    (hr / "p2.png").unlink()
    picture(lr / "p3.png", 24, 28, mode="L")
    (lr / "p4.png").write_text("I am no picture")
    message = fault(data(PairFolder, tmp_path, **folders, patch=16))
    assert "5 fault(s)" in message
    assert f"{lr / 'p0.png'}: 28×20, but p0.png is 56×48: at scale=2, 28×24 was expected" in message
    assert f"{hr / 'p1.png'}: no LR image of this name" in message
    assert f"{lr / 'p2.png'}: no HR image of this name" in message
    assert f"{lr / 'p3.png'}: gray, but p3.png is colour" in message
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


def test_a_set_that_is_not_there_tells_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        data(Benchmark, tmp_path, test=["Set6"]).setup("test")
    for word in ("data.test=Set6", str(tmp_path / "Set6" / "HR"), "SR_DATA"):
        assert word in str(error.value)


def test_hr_is_cropped_to_a_multiple_of_the_scale_at_the_bottom_and_right(tmp_path: Path) -> None:
    path = picture(tmp_path / "odd" / "a.png", 49, 57)
    source = data(Benchmark, tmp_path, test=["odd"])
    source.setup("test")
    lr, hr = source.on_after_batch_transfer(next(iter(source.test_dataloader()[0])), 0)
    assert (lr.shape, hr.shape) == ((1, 3, 24, 28), (1, 3, 48, 56))
    with Image.open(path) as image:
        assert np.array_equal((hr[0] * 255).round().permute(1, 2, 0), np.array(image)[:48, :56])


# chance


def located(path: Path) -> Path:
    """Pictures whose pixels tell their picture, row and column."""
    path.mkdir()
    for k in range(5):
        rows, columns = np.mgrid[0:48, 0:56]
        Image.fromarray(np.stack([rows, columns, 0 * rows + k], -1).astype(np.uint8)).save(path / f"{k}.png")
    return path


def epoch(source: SRData, number: int) -> list[Raw]:
    loader = source.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def same(one: list[Raw], other: list[Raw]) -> bool:
    return all(torch.equal(a.hr, b.hr) and torch.equal(a.turn, b.turn) for a, b in zip(one, other, strict=True))


def test_patches_are_the_same_with_any_number_of_workers_and_again_after_a_resume(tmp_path: Path) -> None:
    path = located(tmp_path / "hr")
    alone, helped = (data(Folder, tmp_path, path=path, patch=16, workers=n, repeat=8) for n in (0, 2))
    for source in (alone, helped):
        source.setup("fit")
    first = epoch(alone, 3)
    assert len(first) == 8  # 4 pictures × 8 / batch 4
    assert same(first, epoch(helped, 3))
    assert same(first, epoch(alone, 3))
    assert not same(first, epoch(alone, 4))


def test_another_seed_shows_other_patches(tmp_path: Path) -> None:
    path = located(tmp_path / "hr")
    one, other = (data(Folder, tmp_path, path=path, patch=16, seed=seed) for seed in (0, 1))
    for source in (one, other):
        source.setup("fit")
    assert not same(epoch(one, 0), epoch(other, 0))


def test_every_picture_place_and_turn_gets_its_share(tmp_path: Path) -> None:
    source = data(Folder, tmp_path, path=located(tmp_path / "hr"), patch=44, repeat=200)
    source.setup("fit")
    batches = epoch(source, 0)
    corner = torch.cat([raw.hr for raw in batches])[:, :, 0, 0]
    assert corner[:, 2].bincount().tolist() == [0, 200, 200, 200, 200]  # picture 0 is held out
    assert sorted(set(corner[:, 0].tolist())) == [0, 2, 4]  # HR places that are whole LR pixels
    assert sorted(set(corner[:, 1].tolist())) == [0, 2, 4, 6, 8, 10, 12]
    assert torch.cat([raw.turn for raw in batches]).bincount().min() > 60  # of 100 expected


def test_few_pictures_still_fill_a_batch() -> None:
    (draw,) = Draws(n=3, batch=8, repeat=1, seed=0)
    assert len(draw.index) == 8
    assert set(draw.index) == {0, 1, 2}


def test_turns_are_the_eight_of_the_square() -> None:
    tile = torch.arange(16.0).view(1, 1, 4, 4)
    results = turned(tile.expand(8, -1, -1, -1), torch.arange(8, dtype=torch.uint8))[:, 0]
    expected = [torch.rot90(side, k) for side in (tile[0, 0], tile[0, 0].flip(-1)) for k in range(4)]
    assert {tuple(r.flatten().tolist()) for r in results} == {tuple(e.flatten().tolist()) for e in expected}
    assert torch.equal(results[0], tile[0, 0])


# data=sample


def test_no_picture_of_sample_is_in_two_parts(tmp_path: Path) -> None:
    source = data(Sample, tmp_path, patch=16, val=["sample"], test=["sample"])
    source.setup("fit")
    source.setup("test")
    parts = [source.train_set.pictures, source.eval_sets["val"][0], source.eval_sets["test"][0]]
    assert [len(part) for part in parts] == [8, 2, 3]
    assert len({name for part in parts for name in part.names}) == 13

    def content(image: Tensor) -> bytes:
        return image.numpy().tobytes()

    assert len({content(part[k].hr) for part in parts for k in range(len(part))}) == 13
