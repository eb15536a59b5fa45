"""The cache of decoded pictures: right pixels whatever befalls the folder, decoded once, bounded, cleanable."""

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
from test_data import cut_off, data, fault, pairs, photos
from test_patches import epoch, same
from torch import Tensor, nn

from sr.data import cache as room
from sr.data import file_digest
from sr.data.cache import Cache
from sr.data.fixed_lr import FixedLR
from sr.data.folder import Folder
from sr.data.image_set import ImageSet
from sr.data.pair import PairFolder
from sr.image.color import rgb_to_gray as to_gray
from sr.runtime.error import UserError

PIXELS = 3 * 48 * 56  # of each of `photos`
ENTRY = PIXELS + room.TRAILER.size


def mapped(folder: Path, tmp_path: Path, limit: float = 1e9) -> ImageSet:
    """The pictures of `folder`, with no room in memory."""
    return ImageSet(sorted(folder.iterdir()), 2, None, 0, Cache(tmp_path / "cache", limit))


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "pixels").iterdir())


def right(pictures: ImageSet) -> bool:
    """Whether the pixels are those of the files, cropped to even sizes."""
    for index, file in enumerate(pictures._hr):
        with Image.open(file) as image:
            expected = np.array(image.convert("RGB")).transpose(2, 0, 1)
        _, h, w = expected.shape
        if not np.array_equal(pictures[index].hr.numpy(), expected[:, : h - h % 2, : w - w % 2]):
            return False
    return True


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Counts what is decoded from here on."""
    decoded: list[Path] = []
    read = room.read_image
    monkeypatch.setattr(room, "read_image", lambda file: (decoded.append(file), read(file))[1])
    return decoded


def test_pictures_are_decoded_once_whatever_their_name_or_place(tmp_path: Path, no_decoder: list[Path]) -> None:
    folder = photos(tmp_path / "hr")
    write_image(folder / "gray.png", 49, 57, seed=7, mode="L")
    mapped(folder, tmp_path).load()
    assert len(no_decoder) == len(entries(tmp_path)) == 5
    (folder / "p0.png").rename(folder / "other.png")
    folder.rename(tmp_path / "moved")
    again = mapped(tmp_path / "moved", tmp_path)
    again.load()
    assert right(again)
    assert [raw.gray for raw in map(again.__getitem__, range(5))] == [True, False, False, False, False]
    assert len(no_decoder) == 5


def test_an_unchanged_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "hr", 1)
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", -1.0)
    mapped(folder, tmp_path).load()
    monkeypatch.setattr(file_digest.hashlib, "file_digest", None)
    assert right(mapped(folder, tmp_path))


@pytest.mark.parametrize("settled", [-1.0, 2.0])
def test_a_file_that_changes_is_decoded_anew(tmp_path: Path, settled: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where its size and its date of change stay what they were."""
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", settled)
    folder = tmp_path / "hr"
    file = write_image(folder / "a.bmp", seed=1)
    mapped(folder, tmp_path).load()
    before = file.stat()
    time.sleep(0.02)  # more than a file system's clock needs to tick
    write_image(file, seed=2)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    again = mapped(folder, tmp_path)
    again.load()
    assert right(again)


@pytest.mark.parametrize("harm", ["cut", "emptied", "one byte", "zeros", "trailer"])
def test_a_damaged_entry_is_noticed_and_made_anew(tmp_path: Path, harm: str, no_decoder: list[Path]) -> None:
    folder = photos(tmp_path / "hr", 1)
    mapped(folder, tmp_path).load()
    (entry,) = entries(tmp_path)
    data = bytearray(entry.read_bytes())
    data[1000] ^= harm == "one byte"
    data[-5] ^= harm == "trailer"
    size = {"cut": 5000, "emptied": 0}.get(harm, len(data))
    entry.write_bytes(bytes(size) if harm == "zeros" else data[:size])
    again = mapped(folder, tmp_path)
    again.load()
    assert right(again)
    assert len(no_decoder) == 2
    assert right(mapped(folder, tmp_path))
    assert len(no_decoder) == 2


def test_beyond_the_limit_the_pictures_used_longest_ago_are_removed(tmp_path: Path, no_decoder: list[Path]) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    for k, folder in enumerate((first, second, third)):
        for j in range(2):
            write_image(folder / f"{j}.png", seed=10 * k + j)
    limit = 5 * ENTRY
    for folder in (first, second, first, third):  # then `second` was used longest ago
        mapped(folder, tmp_path, limit).load()
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= limit
    del no_decoder[:]
    mapped(first, tmp_path, limit).load()
    mapped(third, tmp_path, limit).load()
    assert no_decoder == []
    mapped(second, tmp_path, limit).load()
    assert no_decoder


def test_a_set_larger_than_the_limit_is_used_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    few = mapped(photos(tmp_path / "hr"), tmp_path, 2.5 * ENTRY)
    few.load()
    assert right(few)
    kept = entries(tmp_path)
    assert len(kept) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.disk=" in line
    assert "decoded each time" in line
    mapped(tmp_path / "hr", tmp_path, 2.5 * ENTRY).load()
    assert entries(tmp_path) == kept  # nothing makes room for another of the same set


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path, trouble: str, capsys: pytest.CaptureFixture
) -> None:
    pictures = mapped(photos(tmp_path / "hr"), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if trouble == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (PIXELS // 2, before[1]))  # a write stops in the middle
    else:
        (tmp_path / "cache").touch()  # not a folder: root may write anywhere else
    try:
        pictures.load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert right(pictures)
    assert not list((tmp_path / "cache").rglob("*.part"))
    (line,) = capsys.readouterr().err.splitlines()
    assert f"paths.cache={tmp_path / 'cache'}: cannot be written" in line


def _load(folder: Path, tmp_path: Path, answer: multiprocessing.SimpleQueue) -> None:
    pictures = mapped(folder, tmp_path)
    pictures.load()
    answer.put(right(pictures))


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
    dials = {"path": folder, "patch": 16, "repeat": 8, "cache": str(tmp_path / "cache")}
    sources = [data(Folder, tmp_path, memory=gb, workers=n, **dials) for gb, n in ((1, 0), (0, 0), (0, 2))]
    for source in sources:
        source.setup("fit")
    assert [source.train_set.images.is_mapped for source in sources] == [False, True, True]
    assert len(entries(tmp_path)) == 9  # four with their LR, and the one held out
    first, *others = (epoch(source, 3) for source in sources)
    assert all(same(first, other) for other in others)


class Darker(nn.Module):
    """A degradation of a user's own, which shows nothing of its dials."""

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
    """Told apart by dials, weights, and what it does, where that is in a closure; and found again by another instance."""
    folder, seen = photos(tmp_path / "hr", 1), []
    amounts = (3, 4)
    dials = [{}, {"offset": 9}, {"kernel": (0.5,)}, {"large": 5000}]
    makes = [lambda d=d: Darker(**d) for d in dials]
    makes += [lambda k=k: Darker(own=lambda hr: hr // k) for k in amounts]
    makes += [lambda k=k: lambda hr: hr[..., ::2, ::2] // k for k in amounts]
    for make in makes:
        for gray in (False, True):
            for _ in range(2):
                pictures = mapped(folder, tmp_path).add_fixed_lr(FixedLR(make(), 2, gray))
                pictures.load()
                shown = pictures[0].hr if not gray else to_gray(pictures[0].hr)
                assert torch.equal(pictures[0].lr, make()(shown).expand(3, -1, -1))
            seen.append(len(entries(tmp_path)))
    assert seen == list(range(2, 2 + 2 * len(makes)))
    assert len(no_decoder) == 1


def test_lr_files_are_cached_too(tmp_path: Path) -> None:
    dials = {"patch": 16, "batch": 8, "cache": str(tmp_path / "cache")}
    memory, disk = (data(PairFolder, tmp_path, memory=gb, **pairs(tmp_path), **dials) for gb in (1, 0))
    for source in (memory, disk):
        source.setup("fit")
    assert len(entries(tmp_path)) == 8
    assert all(torch.equal(a.lr, b.lr) for a, b in zip(epoch(memory, 0), epoch(disk, 0), strict=True))


def test_damaged_pictures_are_all_named_and_not_cached(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr")
    for name in ("p1.png", "p3.png"):
        cut_off(folder / name)
    message = fault(data(Folder, tmp_path, path=folder, patch=16, memory=0, cache=str(tmp_path / "cache")))
    assert [line.partition(":")[0] for line in message.splitlines()] == [str(folder / "p1.png"), str(folder / "p3.png")]
    assert len(entries(tmp_path)) == 3  # the one held out, and the other with its LR


def test_a_loader_process_opens_its_own_maps_and_is_not_sent_pixels(tmp_path: Path) -> None:
    pictures = mapped(photos(tmp_path / "hr"), tmp_path)
    pictures.load()
    sent = pickle.dumps(pictures)
    assert len(sent) < PIXELS
    assert right(pickle.loads(sent))


def test_clean_removes_what_is_ours_and_nothing_else(tmp_path: Path, sr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only when it is told to."""
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", -1.0)
    mapped(photos(tmp_path / "hr"), tmp_path).load()
    own = tmp_path / "cache" / "files" / "letter.txt"
    own.write_text("mine")
    before = sorted((tmp_path / "cache").rglob("*"))
    words = ("clean", "what=[cache]", f"paths.cache={tmp_path / 'cache'}")
    answer = sr(*words)
    assert answer.code == 0
    assert f"decoded pictures in {tmp_path / 'cache'}" in answer.out
    assert "nothing was removed: apply=true" in answer.out
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert sr(*words, "apply=true").code == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [own]
    own.unlink()
    (tmp_path / "cache" / "files").rmdir()
    mapped(tmp_path / "hr", tmp_path).load()
    assert sr(*words, "apply=true").code == 0
    assert not (tmp_path / "cache").exists()
    assert "nothing to remove" in sr(*words).out


@pytest.mark.parametrize("dial", ["memory", "disk"])
def test_gigabytes_are_numbers(tmp_path: Path, dial: str) -> None:
    with pytest.raises(UserError, match=rf"data\.{dial}=-1: expected a number of GB"):
        data(Folder, tmp_path, path="hr", patch=16, **{dial: -1})
