"""`data=cifar10` on made-up small files: both layouts, the archive, and what is damaged or malicious."""

import hashlib
import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sr.data.cifar10 import ARCHIVE, BINARY_FOLDER, CIFAR10, PYTHON_FOLDER, read_labeled_images, unpack_archive
from sr.data.patches import PatchDraw
from sr.degrade.bicubic import Bicubic
from sr.runtime.error import UserError

NOWHERE = "file:///nowhere/cifar-10-python.tar.gz"


def pixels(count: int, seed: int = 0) -> np.ndarray:
    """`count` images as CIFAR-10 stores them: the red, green and blue planes of each in one row."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)


def pickle_batch(images: np.ndarray, protocol: int = 2) -> bytes:
    batch = {b"batch_label": b"made up", b"labels": [7] * len(images), b"data": images, b"filenames": [b"a.png"]}
    return pickle.dumps(batch, protocol=protocol)


def encode_binary(images: np.ndarray) -> bytes:
    return np.concatenate([np.full((len(images), 1), 7, np.uint8), images], axis=1).tobytes()


LAYOUTS = {"python": (PYTHON_FOLDER, "", pickle_batch), "binary": (BINARY_FOLDER, ".bin", encode_binary)}


def write_extracted(root: Path, layout: str = "python", batches: tuple[int, ...] = (40, 60), test: int = 30) -> Path:
    """An extracted CIFAR-10 with that many images in data_batch_1, _2, … and test_batch."""
    name, suffix, encode = LAYOUTS[layout]
    (root / name).mkdir()
    for k, count in enumerate(batches):
        (root / name / f"data_batch_{k + 1}{suffix}").write_bytes(encode(pixels(count, k)))
    (root / name / f"test_batch{suffix}").write_bytes(encode(pixels(test, 99)))
    return root


def tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


OFFICIAL = tar(
    {f"{PYTHON_FOLDER}/data_batch_{k}": pickle_batch(pixels(20, k)) for k in range(1, 6)}
    | {
        f"{PYTHON_FOLDER}/test_batch": pickle_batch(pixels(30)),
        f"{PYTHON_FOLDER}/batches.meta": b"",
        f"{PYTHON_FOLDER}/readme.html": b"hello",
    }
)
SHA256 = hashlib.sha256(OFFICIAL).hexdigest()


def cifar10(root: Path, url: str = NOWHERE, sha256: str = SHA256, scale: int = 2) -> CIFAR10:
    options = {"color": "rgb", "seed": 0, "val": ["cifar10"], "test": ["cifar10"], "batch": 8}
    return CIFAR10(url=url, sha256=sha256, root=str(root), scale=scale, degrade=Bicubic(scale), **options)


def set_up(source: CIFAR10) -> CIFAR10:
    source.prepare_data()
    source.setup("fit")
    source.setup("test")
    return source


def sizes(source: CIFAR10) -> tuple[int, int, int]:
    return len(source.train_set), len(source.eval_sets["val"][0]), len(source.eval_sets["test"][0])


# extracted files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_give_the_same_images_and_need_no_network(tmp_path: Path, layout: str) -> None:
    source = set_up(cifar10(write_extracted(tmp_path, layout)))
    assert sizes(source) == (90, 10, 30)
    stored = np.concatenate([pixels(40, 0), pixels(60, 1)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(source.train_set.images, stored[:90])
    assert np.array_equal(source.eval_sets["val"][0].images, stored[90:])  # the last tenth is held out
    assert np.array_equal(source.eval_sets["test"][0].images, pixels(30, 99).reshape(-1, 3, 32, 32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_contain_the_classes(tmp_path: Path, layout: str) -> None:
    images, labels = read_labeled_images(write_extracted(tmp_path, layout), "train")
    assert images.shape == (100, 3, 32, 32)
    assert (labels.dtype, labels.tolist()) == (torch.int64, [7] * 100)


def test_a_batch_with_fewer_classes_than_images_is_named(tmp_path: Path) -> None:
    batch = {b"labels": [7] * 3, b"data": pixels(4)}
    path = write_extracted(tmp_path) / PYTHON_FOLDER / "data_batch_2"
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match=r"data_batch_2: not a CIFAR-10 batch.*4 labels expected"):
        read_labeled_images(tmp_path, "train")


@pytest.mark.parametrize(("batches", "expected"), [((20,), (18, 2)), ((7, 3, 5), (14, 1)), ((6000,), (5500, 500))])
def test_any_number_of_images_and_of_batches(tmp_path: Path, batches: tuple[int, ...], expected: tuple) -> None:
    assert sizes(set_up(cifar10(write_extracted(tmp_path, batches=batches))))[:2] == expected


def test_a_draw_picks_its_images_and_the_turns_come_along(tmp_path: Path) -> None:
    tiles = set_up(cifar10(write_extracted(tmp_path))).train_set
    draw = PatchDraw(np.array([5, 0, 5, 89]), np.zeros((4, 2)), np.array([0, 3, 7, 1], dtype=np.uint8))
    raw = tiles[draw]
    plain, around, both, mirrored = raw.hr
    assert torch.equal(plain, tiles.images[5])
    assert torch.equal(around, tiles.images[0].rot90(2, (1, 2)))
    assert torch.equal(both, tiles.images[5].rot90(2, (1, 2)).transpose(1, 2))
    assert torch.equal(mirrored, tiles.images[89].flip(2))


def test_a_scale_that_does_not_divide_32_crops_the_images(tmp_path: Path) -> None:
    source = set_up(cifar10(write_extracted(tmp_path), scale=3))
    lr, hr = source.on_after_batch_transfer(next(iter(source.train_dataloader())), 0)
    assert (lr.shape, hr.shape) == ((8, 3, 10, 10), (8, 3, 30, 30))


def test_a_folder_without_batches_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / PYTHON_FOLDER).mkdir()
    with pytest.raises(UserError, match="expected at least one of data_batch_1"):
        set_up(cifar10(tmp_path))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_off_pickle_is_refused_by_name(tmp_path: Path, part: float, protocol: int) -> None:
    path = write_extracted(tmp_path) / PYTHON_FOLDER / "data_batch_2"
    whole = pickle_batch(pixels(60, 1), protocol)
    path.write_bytes(whole)
    assert sizes(set_up(cifar10(tmp_path)))[0] == 90
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: not a CIFAR-10 batch, or cut off"):
        set_up(cifar10(tmp_path))


@pytest.mark.parametrize("size", [0, 1000, 3 * 3073 - 1])
def test_a_cut_off_binary_batch_is_refused_by_name(tmp_path: Path, size: int) -> None:
    path = write_extracted(tmp_path, "binary") / BINARY_FOLDER / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: damaged or cut off"):
        set_up(cifar10(tmp_path))


@pytest.mark.parametrize("content", [[1, 2], {}, {b"data": pixels(2).astype(float)}, {b"data": pixels(2)[:, :9]}])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    (write_extracted(tmp_path) / PYTHON_FOLDER / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match="not a CIFAR-10 batch"):
        set_up(cifar10(tmp_path))


class Command:
    """Runs a shell command when a careless program unpickles it."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self) -> tuple:
        return os.system, (self.line,)


def test_a_pickle_that_wants_to_run_a_command_does_not(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"
    evil = pickle.dumps({b"data": Command(f"echo > '{witness}'")}, protocol=2)
    pickle.loads(evil)
    assert witness.exists()  # the trap does work
    witness.unlink()
    (write_extracted(tmp_path) / PYTHON_FOLDER / "data_batch_1").write_bytes(evil)
    with pytest.raises(UserError, match=r"system is not allowed in a data file"):
        set_up(cifar10(tmp_path))
    assert not witness.exists()


# the archive


def list_names(folder: Path) -> set[str]:
    """List the names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def test_an_archive_in_place_is_unpacked_and_only_its_batches(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(OFFICIAL)
    assert sizes(set_up(cifar10(tmp_path))) == (90, 10, 30)
    assert list_names(tmp_path) == {ARCHIVE, PYTHON_FOLDER}
    assert "readme.html" not in {path.name for path in (tmp_path / PYTHON_FOLDER).iterdir()}


def test_a_member_outside_the_folder_is_not_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    names = ("../evil", f"{PYTHON_FOLDER}/../../evil", str(tmp_path / "evil"), f"{PYTHON_FOLDER}/evil")
    (root / "a.tar.gz").write_bytes(tar(dict.fromkeys(names, b"boo") | {f"{PYTHON_FOLDER}/test_batch": b"good"}))
    unpack_archive(root / "a.tar.gz", root)
    assert [path.name for path in (root / PYTHON_FOLDER).iterdir()] == ["test_batch"]
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "content",
    [b"no archive", OFFICIAL[: len(OFFICIAL) // 2], tar({"other/file": b""})],
    ids=["text", "cut off", "of something else"],
)
def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / ARCHIVE
    archive.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{archive}: cannot be unpacked")):
        unpack_archive(archive, tmp_path)
    assert list_names(tmp_path) == {ARCHIVE}


def test_an_archive_with_the_wrong_checksum_is_named_and_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(OFFICIAL[:-100])
    with pytest.raises(UserError, match=rf"{re.escape(str(tmp_path / ARCHIVE))}: wrong checksum.*Remove it"):
        cifar10(tmp_path).prepare_data()
    assert list_names(tmp_path) == {ARCHIVE}


def test_without_files_the_archive_is_fetched_once_and_unpacked(tmp_path: Path) -> None:
    far, root = tmp_path / "far.tar.gz", tmp_path / "not" / "there" / "yet"
    far.write_bytes(OFFICIAL)
    assert sizes(set_up(cifar10(root, far.as_uri()))) == (90, 10, 30)
    assert list_names(root) == {ARCHIVE, PYTHON_FOLDER}
    far.unlink()
    assert sizes(set_up(cifar10(root, far.as_uri()))) == (90, 10, 30)


def test_without_files_and_network_it_says_which_file_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="download failed") as error:
        cifar10(tmp_path).prepare_data()
    assert f"download {NOWHERE} elsewhere and put the file here: {tmp_path / ARCHIVE}" in str(error.value)


# the real images


def test_the_real_subset_is_taken_as_it_is(sr_data: Path) -> None:
    source = set_up(cifar10(sr_data))
    train, val, test = sizes(source)
    assert (train + val, val, test) == (8336, 500, 1017)
