"""A new data source is one Python file and one YAML, outside the package: `sr.run` trains on it and `sr.inspect` inspects it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_image
from specimen import levels

from sr.data.module import SRDataModule
from sr.data.source import ImageTensor
from sr.data.tile_set import TileSet
from sr.runtime.error import UserError

YAML = """
defaults:
  - _files
  - _self_
_target_: archive.Archive
val: [archive]
test: [archive]
patch: 32
folder: ${paths.data}/archive
"""
PYTHON = """
from pathlib import Path

from sr.data.module import SRDataModule
from sr.data.source import ImageFiles
from sr.image.listing import list_images


class Archive(SRDataModule):
    name = "archive"

    def __init__(self, *, folder, **options):
        super().__init__(**options)
        self.folder = Path(folder)

    def find_images(self, split):
        return ImageFiles(list_images(self.folder / split, "data.folder"))
"""


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    """A folder for `--config-dir` with the source `archive`, and its images; the options that choose it."""
    (tmp_path / "parts" / "data").mkdir(parents=True)
    (tmp_path / "parts" / "data" / "archive.yaml").write_text(YAML)
    (tmp_path / "parts" / "archive.py").write_text(PYTHON)
    for seed, name in enumerate(("train/a", "train/b", "val/c", "test/d")):
        write_image(tmp_path / "sets" / "archive" / f"{name}.png", seed=seed)
    return ["--config-dir", str(tmp_path / "parts"), "data=archive", f"paths.data={tmp_path}/sets"]


def test_a_new_source_is_trained_on_and_tested(parts: list[str], sr: Any, tmp_path: Path) -> None:
    answer = sr("run", *parts, "track=none", "data.batch=2", "trainer.max_steps=2", "model.net.width=4")
    assert answer.code == 0, answer.err
    assert "archive" in answer.out
    assert list((tmp_path / "runs").glob("*/best.ckpt"))
    assert sr("run", *parts, "+data.nothing=1").code == 2  # its options are checked as those of any other source


@pytest.mark.slow(1)
def test_a_new_source_is_inspected(parts: list[str], inspect: Any, tmp_path: Path) -> None:
    code, found, out = inspect(*parts)
    assert (code, {kind for kind in found if "duplicate" not in kind}) == (0, set())
    assert "training set: 2 file(s), decoded to the end" in out
    assert "archive: 2 file(s), decoded to the end" in out
    archive = tmp_path / "sets" / "archive"
    (archive / "train" / "e.png").write_bytes((archive / "train" / "a.png").read_bytes()[:99])
    code, found, _ = inspect(*parts)
    assert code == 1
    assert [item["file"] for item in found["unreadable"]] == ["e.png"]


class Tiles(SRDataModule):
    """Eight images of 13×17 in a tensor: five to train on, three to validate on."""

    name = "tiles"
    caveat = "what nobody has looked for"

    def find_images(self, split: str) -> ImageTensor | None:
        pixels = levels(8, 3, 13, 17).to(torch.uint8)
        return {"train": ImageTensor(pixels[:5]), "val": ImageTensor(pixels[5:])}.get(split)


def make_tiles(**options: Any) -> Tiles:
    fixed = {"scale": 2, "color": "rgb", "seed": 0, "root": ".", "degrade": lambda hr: hr[..., ::2, ::2]}
    return Tiles(**fixed | {"val": ["tiles"], "test": [], "batch": 2} | options)


def test_a_source_may_consist_of_a_tensor_instead_of_files() -> None:
    source = make_tiles()
    source.setup("fit")
    assert isinstance(source.train_set, TileSet)
    assert (len(source.train_set), len(source.eval_sets["val"][0])) == (5, 3)
    (pair,) = (source.on_after_batch_transfer(raw, 0) for raw in source.val_dataloader()[0])
    assert (pair.lr.shape, pair.hr.shape) == ((3, 3, 6, 8), (3, 3, 12, 16))


def test_a_set_that_a_source_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match=r"data\.test=tiles: this source has no image to hold out"):
        make_tiles(test=["tiles"]).setup("test")


def test_a_source_that_does_not_name_its_images_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="find_images"):
        SRDataModule(scale=2, color="rgb", seed=0, root=".", degrade=len, val=[], test=[])


def test_any_source_of_tiles_is_inspected_for_equal_ones() -> None:
    from sr.inspection.finding import Report
    from sr.inspection.inspection import inspect_tiles

    source = make_tiles(val=["tiles", "Set5"])
    images = {split: source.find_images(split) for split in ("train", "val")}
    images["val"].pixels[-1] = images["train"].pixels[0]
    source.find_images = images.get
    report = Report()
    inspect_tiles(source, report)
    assert [s["images"] for s in report.sets] == [5, 3]
    assert [item["of"] for finding in report.findings for item in finding.items] == ["training set 00000"]
    assert report.unchecked[0] == Tiles.caveat
    assert "leaks into Set5: tiles of 16×12" in report.unchecked[1]
