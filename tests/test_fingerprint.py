"""Fingerprints of the images that a run used: file by file, the same wherever the files are, each read once."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import write_image
from test_data import data, pairs, photos

from sr.data import file_digest, fingerprint
from sr.data.cifar10 import CIFAR10
from sr.data.file_digest import DigestCache
from sr.data.fingerprint import compute_fingerprints, find_data_differences, list_used_sets, to_tree
from sr.data.folder import Folder
from sr.data.pair import PairFolder
from sr.data.sample import Sample
from sr.metric.protocol import Protocol


def tree(source: Any, root: Path, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """data.json, as if read again."""
    source.sets["test"] = [source.name]
    source.setup("fit")
    source.setup("test")
    found = compute_fingerprints(list_used_sets(source, Protocol("edsr", 2, "rgb").describe), root, DigestCache(folder))
    return json.loads(json.dumps(to_tree(found)))


def of_folder(tmp_path: Path, folder: Path, root: Path, **options: Any) -> dict[str, dict[str, Any]]:
    return tree(data(Folder, tmp_path, path=folder, patch=16, **options), root)


def test_a_set_is_the_same_in_any_folder_and_under_any_name(tmp_path: Path) -> None:
    here = of_folder(tmp_path, photos(tmp_path / "root" / "photos" / "HR"), tmp_path / "root")
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "photos").rename(tmp_path / "other" / "photos")
    there = of_folder(tmp_path, tmp_path / "other" / "photos" / "HR", tmp_path / "root")
    assert there["train"]["HR"]["source"] != here["train"]["HR"]["source"]
    assert there["train"]["HR"]["digest"] == here["train"]["HR"]["digest"]
    assert set(here["train"]["HR"]["files"]) == {f"photos/HR/p{k}.png" for k in (1, 2, 3)}
    assert set(here["test"]["folder"]["files"]) == {"photos/HR/p0.png"}
    assert find_data_differences(here, there) == []


def test_a_changed_byte_a_new_name_and_a_missing_file_are_reported_by_name(tmp_path: Path) -> None:
    folder = photos(tmp_path / "hr", 5)
    before = of_folder(tmp_path, folder, tmp_path)
    data_ = bytearray((folder / "p2.png").read_bytes())
    data_[-1] ^= 1  # behind the end of the image: the pixels are the same, the file is not
    (folder / "p2.png").write_bytes(data_)
    (folder / "p1.png").rename(folder / "p9.png")
    (folder / "p3.png").unlink()
    write_image(folder / "q.png", seed=8)
    assert find_data_differences(before, of_folder(tmp_path, folder, tmp_path)) == [
        "hr/p2.png differs", "hr/p1.png is hr/p9.png now", "hr/p3.png is missing", "hr/q.png is new",
    ]  # fmt: skip


def test_another_degradation_or_protocol_is_another_set(tmp_path: Path) -> None:
    source = data(Folder, tmp_path, path=photos(tmp_path / "hr"), patch=16)
    before = tree(source, tmp_path)
    source.degrade = type("Other", (), {"__repr__": lambda self: "Other()", "fixed": True})()
    found = find_data_differences(before, tree(source, tmp_path))
    assert found == [f"{part}: its LR is made, or it is evaluated, in another way" for part in (
        "train set hr", "val set folder", "test set folder")]  # fmt: skip
    (other,) = compute_fingerprints(
        [fingerprint.UsedSet("test", "folder", source.eval_sets["test"][0].files, {})], tmp_path, DigestCache(None)
    )
    assert other.digest != before["test"]["folder"]["digest"]


def test_pairs_the_sample_and_cifar10_are_known_by_their_files(tmp_path: Path, world: Path) -> None:
    pair = tree(data(PairFolder, tmp_path, patch=16, **pairs(tmp_path)), tmp_path)
    names = pair["train"]["hr"]["files"]
    assert {name.split("/")[-2] for name in names} == {"hr", "lr"}
    assert pair["train"]["hr"]["lr"] == "files"
    sample = tree(data(Sample, tmp_path, patch=16), tmp_path)
    assert set(sample["test"]["sample"]["files"]) == {
        f"data/{name}" for name in ("astronaut.png", "chelsea.png", "motorcycle_left.png")
    }
    cifar = tree(data(CIFAR10, world, url="", sha256=""), world)
    assert set(cifar["train"]["cifar10"]["files"]) == {"cifar-10-batches-bin/data_batch_1.bin"}
    assert set(cifar["test"]["cifar10"]["files"]) == {"cifar-10-batches-bin/test_batch.bin"}


def test_a_file_is_read_once_for_all_runs_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "SETTLE_SECONDS", -1.0)
    read: list[str] = []
    digest = file_digest.hashlib.file_digest
    monkeypatch.setattr(
        file_digest.hashlib, "file_digest", lambda file, kind: (read.append(file.name), digest(file, kind))[1]
    )
    folder = photos(tmp_path / "hr")
    source = data(Folder, tmp_path, path=folder, patch=16)
    first = tree(source, tmp_path, tmp_path / "memo")
    assert len(read) == 4  # the one held out is measured twice, and read once
    assert tree(source, tmp_path, tmp_path / "memo") == first
    assert len(read) == 4
    write_image(folder / "p2.png", seed=99)
    assert find_data_differences(first, tree(source, tmp_path, tmp_path / "memo")) == ["hr/p2.png differs"]
    assert read[4:] == [str(folder / "p2.png")]


def test_sets_of_equal_file_names_are_distinguished(tmp_path: Path) -> None:
    for name in ("a", "b"):
        photos(tmp_path / name / "train", 3)
    both = [str(tmp_path / name / "train") for name in ("a", "b")]
    found = tree(data(Folder, tmp_path, path=both, patch=16), tmp_path / "nowhere")
    (only,) = found["train"].values()
    assert len(only["files"]) == 5
