"""`data=internal`: an image is its own training set, and nothing else is read."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image

from sr.data.internal import Internal, ReducedCopy
from sr.degrade.bicubic import Bicubic
from sr.image.resize import imresize
from sr.runtime.error import UserError

SCALE = 2


def build(path: Path | None, **options: Any) -> Internal:
    common = {
        "scale": SCALE,
        "color": "rgb",
        "seed": 0,
        "root": path.parent if path else ".",
        "degrade": Bicubic(SCALE),
    }
    return Internal(**common, path=path, val=["internal"], test=["internal"], **{"patch": 16} | options)


def read(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_the_image_its_copies_and_no_neighbor_are_trained_on(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 48, 56)
    write_image(tmp_path / "HR" / "a.png", 96, 112)
    write_image(tmp_path / "b.png", 48, 56)
    source = build(image, copies=[0.75, 0.5], batch=8, repeat=4)
    source.setup("fit")
    source.setup("test")
    images = source.train_set.images
    assert source.train_set.files == images.files == [image]
    assert images.names == ["a", "a_0.75", "a_0.5"]
    assert images.sizes == [(48, 56), (36, 42), (24, 28)]
    assert torch.equal(images[0].hr, read(image))
    assert torch.equal(images[1].hr, imresize(read(image), 0.75)[:, :36, :42])
    for index in range(3):
        assert torch.equal(images[index].lr, imresize(images[index].hr, 1 / SCALE))  # the sons, by the same degradation
    for split in ("val", "test"):
        (held_out,) = source.eval_sets[split]
        assert held_out.hr_files == [image]
        assert torch.equal(held_out[0].hr, read(image))


def test_every_patch_is_a_part_of_the_image(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 20, 22)
    source = build(image, batch=4, repeat=8)
    source.setup("fit")
    whole = (read(image).float() / 255).unfold(1, 16, 1).unfold(2, 16, 1)  # [3, y, x, 16, 16]
    parts = {part.numpy().tobytes() for part in whole.permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16).contiguous()}
    for batch in source.train_dataloader():
        for patch in source.on_after_batch_transfer(batch, 0).hr:
            turned = [p.flip(axes) for p in (patch, patch.transpose(1, 2)) for axes in ((), (1,), (2,), (1, 2))]
            assert any(p.contiguous().numpy().tobytes() in parts for p in turned)


def test_a_copy_smaller_than_a_patch_is_left_out(tmp_path: Path) -> None:
    source = build(write_image(tmp_path / "a.png", 30, 50), copies=[0.9, 0.54, 0.5])
    source.setup("fit")
    assert source.train_set.images.names == ["a", "a_0.9", "a_0.54"]  # ceil(0.54 · 30) = 17, 0.5 · 30 = 15


def test_a_copy_has_the_depth_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (33, 41), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    copy = ReducedCopy(tmp_path / "a.png", 0.7)
    header, read_pixels = copy.probe(), copy.read()
    assert header.dtype == read_pixels.dtype == torch.uint16
    assert (header.channels, header.height, header.width) == tuple(read_pixels.shape) == (1, math.ceil(23.1), 29)
    assert copy == ReducedCopy(tmp_path / "a.png", 0.7)
    assert repr(copy.key) != repr(ReducedCopy(tmp_path / "a.png", 0.5).key)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "data.path=IMAGE"),
        ("photos", "expected an image file (found a folder)"),
        ("no.png", "(found no such file)"),
    ],
)
def test_what_is_no_image_file_is_refused(tmp_path: Path, name: str | None, message: str) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError) as error:
        build(tmp_path / name if name else None)
    assert message in str(error.value)
    assert not name or f"data.path={tmp_path / name}: " in str(error.value)
