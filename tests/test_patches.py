"""Training patches: their random order and place, their distribution over processes, and their augmentation."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from test_data import data, pairs, photos
from test_image_set import stored_bytes
from torch import Tensor

from sr.data.benchmark import Benchmark
from sr.data.folder import Folder
from sr.data.module import SRDataModule
from sr.data.oriented_images import COPIES
from sr.data.pair import PairFolder
from sr.data.patches import PatchSampler, flip_patches
from sr.data.prepare import Augmentation, Degradation
from sr.degrade.bicubic import Bicubic
from sr.degrade.chain import Chain
from sr.degrade.noise import Gaussian
from sr.image.batch import Pair, Raw
from sr.image.color import rgb_to_gray, rgb_to_luma
from sr.image.resize import imresize


def write_coordinates(path: Path) -> Path:
    """Write images whose pixels hold the index of the image, the row and the column."""
    path.mkdir()
    for k in range(5):
        rows, columns = np.mgrid[0:48, 0:56]
        Image.fromarray(np.stack([rows, columns, 0 * rows + k], -1).astype(np.uint8)).save(path / f"{k}.png")
    return path


def epoch(source: SRDataModule, number: int) -> list[Raw]:
    loader = source.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def same(one: list[Raw], other: list[Raw]) -> bool:
    return all(torch.equal(a.hr, b.hr) and torch.equal(a.lr, b.lr) for a, b in zip(one, other, strict=True))


def test_patches_are_the_same_with_any_number_of_workers_and_again_after_a_resume(tmp_path: Path) -> None:
    path = write_coordinates(tmp_path / "hr")
    alone, helped = (data(Folder, tmp_path, path=path, patch=16, workers=n, repeat=8) for n in (0, 2))
    for source in (alone, helped):
        source.setup("fit")
    first = epoch(alone, 3)
    assert len(first) == 8  # 4 images × 8 / batch 4
    assert same(first, epoch(helped, 3))
    assert same(first, epoch(alone, 3))
    assert not same(first, epoch(alone, 4))


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_lr_patches_are_cut_from_the_lr_of_the_whole_image(tmp_path: Path, color: str) -> None:
    """Published methods do so: a patch degraded on its own lacks the pixels beyond its border."""
    hr = torch.from_numpy(np.array(Image.open(write_image(tmp_path / "hr" / "a.png", 51, 67, seed=1)))).permute(2, 0, 1)
    hr = rgb_to_gray(hr[:, :50, :66]) if color == "gray" else hr[:, :50, :66]
    lr = imresize(hr, 0.5)
    source = data(Folder, tmp_path, path=tmp_path / "hr", patch=32, color=color, batch=1, repeat=20, val=[], test=[])
    source.setup("fit")
    for draw in source.train_dataloader().sampler:
        pair = source.on_after_batch_transfer(source.train_set[draw], 0)
        top, left = (int(u * n) for u, n in zip(draw.place[0], (10, 18), strict=True))
        expected = flip_patches(lr[None, :, top : top + 16, left : left + 16], torch.from_numpy(draw.turn))
        assert torch.equal(pair.lr, expected / 255)


def test_another_seed_shows_other_patches(tmp_path: Path) -> None:
    path = write_coordinates(tmp_path / "hr")
    one, other = (data(Folder, tmp_path, path=path, patch=16, seed=seed) for seed in (0, 1))
    for source in (one, other):
        source.setup("fit")
    assert not same(epoch(one, 0), epoch(other, 0))


def test_every_image_place_and_orientation_is_drawn_equally_often(tmp_path: Path) -> None:
    source = data(Folder, tmp_path, path=write_coordinates(tmp_path / "hr"), patch=44, repeat=200)
    source.setup("fit")
    batches = epoch(source, 0)
    corner = torch.cat([raw.hr for raw in batches]).amin(dim=(2, 3))  # however it was turned
    assert corner[:, 2].bincount().tolist() == [0, 200, 200, 200, 200]  # image 0 is held out
    assert sorted(set(corner[:, 0].tolist())) == [0, 2, 4]  # HR places that are whole LR pixels
    assert sorted(set(corner[:, 1].tolist())) == [0, 2, 4, 6, 8, 10, 12]
    turns = np.concatenate([draw.turn for draw in source.train_dataloader().sampler])
    assert np.bincount(turns).min() > 60  # of 100 expected


def test_few_images_still_fill_a_batch() -> None:
    (draw,) = PatchSampler(n=3, batch=8, repeat=1, seed=0)
    assert len(draw.index) == 8
    assert set(draw.index) == {0, 1, 2}


def test_turns_are_the_eight_of_the_square() -> None:
    tile = torch.arange(16.0).view(1, 1, 4, 4)
    results = flip_patches(tile.expand(8, -1, -1, -1), torch.arange(8, dtype=torch.uint8))[:, 0]
    expected = [torch.rot90(side, k) for side in (tile[0, 0], tile[0, 0].flip(-1)) for k in range(4)]
    assert {tuple(r.flatten().tolist()) for r in results} == {tuple(e.flatten().tolist()) for e in expected}
    assert torch.equal(results[0], tile[0, 0])


# several processes


def test_two_processes_see_what_one_sees_with_the_doubled_batch(tmp_path: Path) -> None:
    path = write_coordinates(tmp_path / "hr")
    one = data(Folder, tmp_path, path=path, patch=16, batch=8, repeat=10)
    two = [data(Folder, tmp_path, path=path, patch=16, batch=4, repeat=10) for _ in range(2)]
    for rank, source in enumerate(two):
        device = SimpleNamespace(root_device=torch.device("cpu"))
        source.trainer = SimpleNamespace(world_size=2, global_rank=rank, accumulate_grad_batches=1, strategy=device)
    for source in (one, *two):
        source.setup("fit")
    whole, *parts = (epoch(source, 2) for source in (one, *two))
    assert len(whole) == len(parts[0]) == len(parts[1]) == 5
    for batch, *halves in zip(whole, *parts, strict=True):
        assert torch.equal(batch.hr, torch.cat([half.hr for half in halves]))
        assert halves[0].seed != halves[1].seed


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 3])
def test_processes_share_an_evaluation_set_in_its_order(tmp_path: Path, world: int, batch: int) -> None:
    source = data(Benchmark, tmp_path, test=["odd"])
    photos(tmp_path / "odd", 5)
    source.setup("test")
    source.eval_sets["test"][0].evaluation_batch = batch
    seen: list[Tensor] = []
    for rank in range(world):
        source.trainer = SimpleNamespace(world_size=world, global_rank=rank)
        batches = list(source.test_dataloader()[0])
        assert batches  # without any, Lightning would skip the test, and other processes would wait for ever
        seen += [image for raw in batches if raw is not None for image in raw.hr]
    expected = [source.eval_sets["test"][0][k].hr for k in range(5)]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


@pytest.mark.parametrize("patch", [4, 16, 20])
@pytest.mark.parametrize("layout", [None, torch.channels_last, torch.contiguous_format])
def test_a_batch_cut_by_one_operation_is_that_of_its_patches(
    tmp_path: Path, patch: int, layout: torch.memory_format | None
) -> None:
    source = data(PairFolder, tmp_path, **pairs(tmp_path), patch=patch)
    write_image(tmp_path / "hr" / "z.png", 20, 90)
    write_image(tmp_path / "lr" / "z.png", 10, 45)
    source.setup("fit")
    patches = source.train_set
    draws = list(PatchSampler(len(patches), 8, 20, seed=0))
    assert {(k, turn) for draw in draws for k, turn in zip(draw.index, draw.turn, strict=True)} == {
        (k, turn) for k in range(len(patches)) for turn in range(8)
    }
    before = [patches[draw] for draw in draws]
    if layout is None:
        patches.move_to(torch.device("cpu"))
    else:
        patches.orient(layout)
    after = [patches[draw] for draw in draws]
    assert same(before, after)
    assert all(torch.equal(a.lr, b.lr) and a.seed == b.seed for a, b in zip(before, after, strict=True))
    if layout is not None:
        assert all(x.is_contiguous(memory_format=layout) for raw in after for x in (raw.hr, raw.lr))


@pytest.mark.parametrize("limit", [None, "data.memory", "all copies"])
@pytest.mark.parametrize("mode", ["RGB", "L"])  # gray is shown with three channels
def test_only_a_small_set_is_copied_in_each_orientation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, mode: str
) -> None:
    path = write_coordinates(tmp_path / "hr")
    for file in path.iterdir():
        Image.open(file).convert(mode).save(file)
    source = data(Folder, tmp_path, path=path, patch=16)
    source.setup("fit")
    size = COPIES * sum(3 * h * w for h, w in source.train_set.images.sizes) * 5 // 4  # with LR at ×2
    whole = size + source.train_set.bytes
    if limit == "data.memory":
        source.memory = whole - 1
    elif limit:
        monkeypatch.setattr("sr.data.module.MAX_ORIENTED_BYTES", whole - 1)
    source.train_dataloader()
    assert sum(stored_bytes(images._samples) for images in source.train_set._whole) == (0 if limit else size)
    assert all(image.is_contiguous() for image in source.draw_example())  # losses may need it


# augmentation


def noisy(pair: Pair, generator: torch.Generator) -> Pair:
    return pair._replace(lr=pair.lr + torch.rand(pair.lr.shape, generator=generator))


def halve(pair: Pair, generator: torch.Generator) -> Pair:
    return Pair(pair.lr / 2, pair.hr / 2)


def test_training_batches_are_augmented_in_order_and_equally_when_repeated(tmp_path: Path) -> None:
    options = {"path": write_coordinates(tmp_path / "hr"), "patch": 16, "repeat": 4}
    plain, changed = (
        data(Folder, tmp_path, **options),
        data(Folder, tmp_path, **options, augment={"a": noisy, "b": halve}),
    )
    for source in (plain, changed):
        source.setup("fit")
    noises = []
    for raw in epoch(changed, 1):
        expected, result, again = (source.on_after_batch_transfer(raw, 0) for source in (plain, changed, changed))
        assert torch.equal(result.hr, expected.hr / 2)
        assert torch.equal(result.lr, again.lr)
        noises.append(result.lr * 2 - expected.lr)
        assert noises[-1].min() >= -1e-6
        assert 0.4 < noises[-1].mean() < 0.6
    assert len(noises) == 4
    assert not torch.allclose(noises[0], noises[1])
    whole = next(iter(changed.val_dataloader()[0]))
    assert torch.equal(*(source.on_after_batch_transfer(whole, 0).lr for source in (plain, changed)))


def add_noise(pair: Pair, generator: torch.Generator) -> Pair:
    """Add noise whose place depends on the layout of the images in memory."""
    return pair._replace(lr=pair.lr + torch.empty_like(pair.lr).uniform_(generator=generator))


@pytest.mark.parametrize("color", ["rgb", "y", "gray"])
@pytest.mark.parametrize("degrade", [Bicubic(2), Chain(2, [Gaussian(sigma=(5, 25))])])
@pytest.mark.parametrize("augment", [{}, {"a": add_noise}])
def test_copies_in_each_orientation_change_no_bit_of_a_batch(
    tmp_path: Path, color: str, degrade: Degradation, augment: dict[str, Augmentation]
) -> None:
    options = {"path": photos(tmp_path / "hr"), "patch": 32, "color": color, "degrade": degrade, "augment": augment}
    small, large = data(Folder, tmp_path, **options), data(Folder, tmp_path, **options, memory=1e-9)
    batches = []
    for source in (small, large):
        source.setup("fit")
        batches.append([source.on_after_batch_transfer(raw, 0) for raw in source.train_dataloader()])
    assert len(batches[0]) == 3
    convert = rgb_to_luma if color == "y" else torch.clone
    for one, other in zip(*batches, strict=True):
        assert all(torch.equal(convert(a), convert(b)) for a, b in zip(one, other, strict=True))
