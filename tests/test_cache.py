"""The cache of decoded images: correct pixels whatever happens to its folder, decoded once, bounded, removable."""

import multiprocessing
import os
import pickle
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from test_data import cut_off, data, pairs, photos, read_error
from test_patches import epoch, same
from torch import Tensor, nn

from sr.data import cache, file_digest, image_set
from sr.data.cache import Cache
from sr.data.fixed_lr import FixedLR
from sr.data.folder import Folder
from sr.data.image_set import ImageSet
from sr.data.pair import PairFolder
from sr.image.color import rgb_to_gray as to_gray

PIXELS = 3 * 48 * 56  # of each of `photos`
ENTRY = PIXELS + cache.TRAILER.size


def make_mapped(folder: Path, tmp_path: Path, limit: float = 1e9) -> ImageSet:
    """Return the images of `folder` as a set that may hold none in memory."""
    return ImageSet(sorted(folder.iterdir()), 2, None, 0, Cache(tmp_path / "cache", limit))


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "pixels").iterdir())


def has_correct_pixels(images: ImageSet) -> bool:
    """Return True if the pixels are those of the files, cropped to even sizes."""
    for index, file in enumerate(images._hr):
        with Image.open(file) as image:
            expected = np.array(image.convert("RGB")).transpose(2, 0, 1)
        _, h, w = expected.shape
        if not np.array_equal(images[index].hr.numpy(), expected[:, : h - h % 2, : w - w % 2]):
            return False
    return True


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Record the files that are decoded from now on."""
    decoded: list[Path] = []
    read = cache.read_levels
    monkeypatch.setattr(cache, "read_levels", lambda file: (decoded.append(file), read(file))[1])
    return decoded


def test_images_are_decoded_once_whatever_their_name_or_place(tmp_path: Path, no_decoder: list[Path]) -> None:
    folder = photos(tmp_path / "hr")
    write_image(folder / "gray.png", 49, 57, seed=7, mode="L")
    make_mapped(folder, tmp_path).load()
    assert len(no_decoder) == len(entries(tmp_path)) == 5
    (folder / "p0.png").rename(folder / "other.png")
    folder.rename(tmp_path / "moved")
    again = make_mapped(tmp_path / "moved", tmp_path)
    again.load()
    assert has_correct_pixels(again)
    assert [raw.gray for raw in map(again.__getitem__, range(5))] == [True, False, False, False, False]
    assert len(no_decoder) == 5


def test_an_unchanged_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "hr", 1)
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", -1.0)
    make_mapped(folder, tmp_path).load()
    monkeypatch.setattr(file_digest.hashlib, "file_digest", None)
    assert has_correct_pixels(make_mapped(folder, tmp_path))


@pytest.mark.parametrize("settled", [-1.0, 2.0])
def test_a_file_that_changes_is_decoded_again(tmp_path: Path, settled: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where its size and its date of change stay what they were."""
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", settled)
    folder = tmp_path / "hr"
    file = write_image(folder / "a.bmp", seed=1)
    make_mapped(folder, tmp_path).load()
    before = file.stat()
    time.sleep(0.02)  # more than a file system's clock needs to tick
    write_image(file, seed=2)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    again = make_mapped(folder, tmp_path)
    again.load()
    assert has_correct_pixels(again)


@pytest.mark.parametrize("harm", ["cut", "emptied", "one byte", "zeros", "trailer"])
def test_a_damaged_entry_is_noticed_and_replaced(tmp_path: Path, harm: str, no_decoder: list[Path]) -> None:
    folder = photos(tmp_path / "hr", 1)
    make_mapped(folder, tmp_path).load()
    (entry,) = entries(tmp_path)
    data = bytearray(entry.read_bytes())
    data[1000] ^= harm == "one byte"
    data[-5] ^= harm == "trailer"
    size = {"cut": 5000, "emptied": 0}.get(harm, len(data))
    entry.write_bytes(bytes(size) if harm == "zeros" else data[:size])
    again = make_mapped(folder, tmp_path)
    again.load()
    assert has_correct_pixels(again)
    assert len(no_decoder) == 2
    assert has_correct_pixels(make_mapped(folder, tmp_path))
    assert len(no_decoder) == 2


def test_beyond_the_limit_the_images_least_recently_used_are_removed(tmp_path: Path, no_decoder: list[Path]) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    for k, folder in enumerate((first, second, third)):
        for j in range(2):
            write_image(folder / f"{j}.png", seed=10 * k + j)
    limit = 5 * ENTRY
    for folder in (first, second, first, third):  # then `second` was used longest ago
        make_mapped(folder, tmp_path, limit).load()
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= limit
    del no_decoder[:]
    make_mapped(first, tmp_path, limit).load()
    make_mapped(third, tmp_path, limit).load()
    assert no_decoder == []
    make_mapped(second, tmp_path, limit).load()
    assert no_decoder


def test_a_set_larger_than_the_limit_is_used_and_it_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    few = make_mapped(photos(tmp_path / "hr"), tmp_path, 2.5 * ENTRY)
    few.load()
    assert has_correct_pixels(few)
    stored = entries(tmp_path)
    assert len(stored) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.disk=" in line
    assert "decoded each time" in line
    make_mapped(tmp_path / "hr", tmp_path, 2.5 * ENTRY).load()
    assert entries(tmp_path) == stored  # nothing makes room for another of the same set


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path, trouble: str, capsys: pytest.CaptureFixture
) -> None:
    images = make_mapped(photos(tmp_path / "hr"), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if trouble == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (PIXELS // 2, before[1]))  # a write stops in the middle
    else:
        (tmp_path / "cache").touch()  # not a folder: root may write anywhere else
    try:
        images.load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert has_correct_pixels(images)
    assert not list((tmp_path / "cache").rglob("*.part"))
    (line,) = capsys.readouterr().err.splitlines()
    assert f"paths.cache={tmp_path / 'cache'}: cannot be written" in line


def _load(folder: Path, tmp_path: Path, answer: multiprocessing.SimpleQueue) -> None:
    images = make_mapped(folder, tmp_path)
    images.load()
    answer.put(has_correct_pixels(images))


def test_processes_that_begin_at_once_share_one_copy(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr", 12)
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    processes = [context.Process(target=_load, args=(folder, tmp_path, answer)) for _ in range(3)]
    for process in processes:
        process.start()
    assert all(answer.get() for _ in processes)
    for process in processes:
        process.join()
    assert len(entries(tmp_path)) == 12


def test_training_sees_the_same_from_memory_and_from_the_cache_with_any_number_of_workers(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr", 5)
    options = {"path": folder, "patch": 16, "repeat": 8, "cache": str(tmp_path / "cache")}
    sources = [data(Folder, tmp_path, memory=gb, workers=n, **options) for gb, n in ((1, 0), (0, 0), (0, 2))]
    for source in sources:
        source.setup("fit")
    assert [source.train_set.images.is_mapped for source in sources] == [False, True, True]
    assert len(entries(tmp_path)) == 9  # four with their LR, and the one held out
    first, *others = (epoch(source, 3) for source in sources)
    assert all(same(first, other) for other in others)


class Darker(nn.Module):
    """A user's own degradation, whose repr shows none of its options."""

    fixed = True

    def __init__(
        self, offset: int = 0, kernel: tuple[float, ...] = (1.0,), large: int = 10**6, own: Any = None
    ) -> None:
        super().__init__()
        self._offset, self.large, self.own = offset, large, own
        self.register_buffer("kernel", torch.tensor(kernel))

    def forward(self, hr: Tensor) -> Tensor:
        if hr.shape[-1] > self.large:
            return torch.zeros_like(hr[..., ::2, ::2])
        own = self.own(hr) if self.own else hr
        return (own[..., ::2, ::2].float() * self.kernel[0] - self._offset).clamp(0, 255).to(torch.uint8)


def test_each_degradation_has_lr_of_its_own_whatever_it_shows_of_itself(tmp_path: Path, no_decoder: list[Path]) -> None:
    """Distinguished by options, weights and, for a closure, by its result; another instance finds the same entry."""
    folder, seen = photos(tmp_path / "hr", 1), []
    amounts = (3, 4)
    options = [{}, {"offset": 9}, {"kernel": (0.5,)}, {"large": 5000}]
    makes = [lambda d=d: Darker(**d) for d in options]
    makes += [lambda k=k: Darker(own=lambda hr: hr // k) for k in amounts]
    makes += [lambda k=k: lambda hr: hr[..., ::2, ::2] // k for k in amounts]
    for make in makes:
        for gray in (False, True):
            for _ in range(2):
                images = make_mapped(folder, tmp_path).add_fixed_lr(FixedLR(make(), 2, gray))
                images.load()
                shown = images[0].hr if not gray else to_gray(images[0].hr)
                assert torch.equal(images[0].lr, make()(shown).expand(3, -1, -1))
            seen.append(len(entries(tmp_path)))
    assert seen == list(range(2, 2 + 2 * len(makes)))
    assert len(no_decoder) == 1


def test_a_set_in_memory_is_decoded_once(
    tmp_path: Path, no_decoder: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are one entry of the cache; without a cache, or while its file is damaged, they are decoded again."""
    monkeypatch.setattr(image_set, "MIN_BLOCK_BYTES", 0)
    monkeypatch.setattr(image_set, "read_image_levels", cache.read_levels)
    folder = photos(tmp_path / "hr")
    write_image(folder / "gray.png", 49, 57, seed=7, mode="L")
    shrink = FixedLR(Darker(), 2, False)

    def load(place: Cache | None) -> int:
        """Return how many images are decoded."""
        del no_decoder[:]
        images = ImageSet(sorted(folder.iterdir()), 2, cache=place).add_fixed_lr(shrink)
        images.load()
        assert has_correct_pixels(images)
        for index in range(5):
            whole = images[index]
            assert torch.equal(whole.lr, shrink(whole.hr[:1] if whole.gray else whole.hr).expand(3, -1, -1))
        return len(no_decoder)

    assert load(None) == 5
    assert [load(Cache(tmp_path / "cache", 1e9)) for _ in range(2)] == [5, 0]
    (folder / "p0.png").rename(folder / "q.png")  # the same files in another order
    assert [load(Cache(tmp_path / "cache", 1e9)) for _ in range(2)] == [5, 0]
    write_image(folder / "p1.png", seed=9)
    assert [load(Cache(tmp_path / "cache", 1e9)) for _ in range(2)] == [5, 0]
    for entry in entries(tmp_path):
        entry.write_bytes(entry.read_bytes()[:-9])
    (tmp_path / "cache" / "remembered.db").write_text("no database")
    assert [load(Cache(tmp_path / "cache", 1e9)) for _ in range(2)] == [5, 0]


def test_an_interruption_while_the_cache_is_written_leaves_no_half_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar counts the bytes; the next start writes the entry."""
    monkeypatch.setattr(image_set, "MIN_BLOCK_BYTES", 0)
    monkeypatch.setattr(cache, "BYTES_PER_PART", 5000)
    folder, written = photos(tmp_path / "hr"), []

    class Bar(cache.ProgressBar):
        def update(self, n: float = 1) -> None:
            written.append(n)
            if len(written) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(cache, "ProgressBar", Bar)
    with pytest.raises(KeyboardInterrupt):
        ImageSet(sorted(folder.iterdir()), 2, cache=Cache(tmp_path / "cache", 1e9)).load()
    assert entries(tmp_path) == []
    ImageSet(sorted(folder.iterdir()), 2, cache=Cache(tmp_path / "cache", 1e9)).load()
    (entry,) = entries(tmp_path)
    assert sum(written[2:]) == entry.stat().st_size - cache.TRAILER.size


def test_lr_files_are_cached_too(tmp_path: Path) -> None:
    options = {"patch": 16, "batch": 8, "cache": str(tmp_path / "cache")}
    memory, disk = (data(PairFolder, tmp_path, memory=gb, **pairs(tmp_path), **options) for gb in (1, 0))
    for source in (memory, disk):
        source.setup("fit")
    assert len(entries(tmp_path)) == 8
    assert all(torch.equal(a.lr, b.lr) for a, b in zip(epoch(memory, 0), epoch(disk, 0), strict=True))


def test_damaged_images_are_all_named_and_not_cached(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    for name in ("p1.png", "p3.png"):
        cut_off(folder / name)
    message = read_error(data(Folder, tmp_path, path=folder, patch=16, memory=0, cache=str(tmp_path / "cache")))
    assert [line.partition(":")[0] for line in message.splitlines()] == [str(folder / "p1.png"), str(folder / "p3.png")]
    assert len(entries(tmp_path)) == 3  # the one held out, and the other with its LR


def test_a_loader_process_opens_its_own_maps_and_is_not_sent_pixels(tmp_path: Path) -> None:
    images = make_mapped(photos(tmp_path / "hr"), tmp_path)
    images.load()
    sent = pickle.dumps(images)
    assert len(sent) < PIXELS
    assert has_correct_pixels(pickle.loads(sent))


def test_clean_removes_the_files_of_the_cache_and_nothing_else(
    tmp_path: Path, sr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remove them only with `apply=true`."""
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", -1.0)
    make_mapped(photos(tmp_path / "hr"), tmp_path).load()
    own = tmp_path / "cache" / "files" / "letter.txt"
    own.parent.mkdir()
    own.write_text("mine")
    (own.parent / ("a" * 64)).write_text("a digest, as earlier versions remembered it")
    before = sorted((tmp_path / "cache").rglob("*"))
    words = ("clean", "what=[cache]", f"paths.cache={tmp_path / 'cache'}")
    answer = sr(*words)
    assert answer.code == 0
    assert f"decoded images in {tmp_path / 'cache'}" in answer.out
    assert "nothing was removed: apply=true" in answer.out
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert sr(*words, "apply=true").code == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [own]
    own.unlink()
    (tmp_path / "cache" / "files").rmdir()
    make_mapped(tmp_path / "hr", tmp_path).load()
    assert sr(*words, "apply=true").code == 0
    assert not (tmp_path / "cache").exists()
    assert "nothing to remove" in sr(*words).out
