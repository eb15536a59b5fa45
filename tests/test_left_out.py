"""Nothing silent: in every command, each entry of a folder is done, named as left out, or named as failed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import write_image
from file_kinds import BAD, DEEP, FOLDER, FRAMES, READ, UNREAD, fill_folder, make_image, write_frames, write_half_png
from PIL import Image
from test_predict import save_checkpoint

from sr.data.benchmark import Benchmark
from sr.data.folder import Folder
from sr.data.module import SRDataModule
from sr.degrade.bicubic import Bicubic
from sr.inspection.defects import find_defects, find_left_out, inspect_files
from sr.inspection.finding import TRAINING
from sr.inspection.known_results import KnownResults
from sr.inspection.listing import list_files
from sr.runtime.error import UserError

EVERYTHING = (READ, DEEP, FRAMES, UNREAD, BAD, FOLDER)


def build(kind: type[SRDataModule], root: Path, **options: Any) -> SRDataModule:
    defaults = {"scale": 2, "color": "rgb", "seed": 0, "root": str(root), "degrade": Bicubic(2), "val": [], "test": []}
    return kind(**defaults | {"patch": 16, "batch": 2} | options)


def count_left_out(text: str) -> tuple[int, int]:
    """Return the numbers of files and folders in `left out: 7 of 9 files (…), 1 folder with 31 images`."""
    files, folders = re.search(r"left out: (?:.*, )?(\d+) of \d+ files", text), re.search(r"(\d+) folders? with", text)
    return int(files[1]) if files else 0, int(folders[1]) if folders else 0


def test_training_names_or_uses_every_entry(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    kinds = fill_folder(tmp_path / "hr", *EVERYTHING)
    assert len(kinds) >= 60
    with pytest.raises(UserError) as error:
        build(Folder, tmp_path, path=str(tmp_path / "hr")).setup("fit")
    lines = str(error.value).splitlines()
    failed = {Path(line.split(": ")[0]).name for line in lines}
    assert failed == {name for name, kind in kinds.items() if kind == BAD}
    assert len(lines) == len(failed)
    files, folders = count_left_out(capsys.readouterr().err)
    for name in failed:
        (tmp_path / "hr" / name).unlink()
    with pytest.raises(UserError) as error:
        build(Folder, tmp_path, path=str(tmp_path / "hr")).setup("fit")
    deep = {name for name, kind in kinds.items() if kind == DEEP}
    assert {name for name in kinds if f"/{name}" in str(error.value)} == deep
    capsys.readouterr()
    for name in deep:
        (tmp_path / "hr" / name).unlink()
    source = build(Folder, tmp_path, path=str(tmp_path / "hr"))
    source.setup("fit")
    frames = sorted(name for name, kind in kinds.items() if kind == FRAMES)
    printed = capsys.readouterr().err
    assert f"left out: {3 * len(frames)} further frame(s) or page(s), of" in printed
    assert all(f"{name} (3)" in printed for name in frames)
    assert len(failed) + len(deep) + files + folders + len(source.train_set) == len(kinds)


def test_an_evaluation_set_is_read_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Each round, the files that the error names are removed, until nothing is wrong: none of the rest is missing."""
    folder = tmp_path / "Mine"
    kinds = fill_folder(folder, *EVERYTHING)
    named: set[str] = set()
    for _ in range(5):
        try:
            source = build(Benchmark, tmp_path, test=["Mine"])
            source.setup("test")
            break
        except UserError as error:
            text = re.sub(r"and \d+ more", "", str(error))
            found = {
                name for name in kinds if name not in named and re.search(rf"(?<![\w.]){re.escape(name)}[ :]", text)
            }
            assert found
            named |= found
            for name in found:
                (folder / name).unlink()
            if "more" in str(error):  # images of other formats are not all listed
                for name in [name for name, kind in kinds.items() if kind == UNREAD and name not in named]:
                    if name not in ("notes.txt", "Thumbs.db", "README", "paper.pdf"):
                        (folder / name).unlink()
                        named.add(name)
    assert {path.name for path in source.eval_sets["test"][0].files} == {n for n, k in kinds.items() if k == READ}
    assert named >= {name for name, kind in kinds.items() if kind in (BAD, DEEP, FRAMES)}


def test_inspect_reports_every_entry(tmp_path: Path) -> None:
    kinds = fill_folder(tmp_path / "Mine", *EVERYTHING)
    source = build(Folder, tmp_path, path=str(tmp_path / "Mine"))
    listing = list_files(source)
    reports = inspect_files(listing.train, TRAINING, KnownResults(None))
    (where, folder), *_ = listing.folders
    findings = [*find_defects(reports, where, 16, ""), *find_left_out(folder, where)]
    named = {kind: {item["file"].rstrip("/") for f in findings if f.kind == kind for item in f.items} for kind in
             ("unreadable", "format", "frames", "unread", "left out")}  # fmt: skip
    done = {x.name for x in reports if not x.error}
    assert done == {name for name, kind in kinds.items() if kind in (READ, DEEP, FRAMES)}
    assert named["unreadable"] | named["format"] == {name for name, kind in kinds.items() if kind == BAD}
    assert named["frames"] == {name for name, kind in kinds.items() if kind == FRAMES}
    assert named["unread"] | named["left out"] == {name for name, kind in kinds.items() if kind in (UNREAD, FOLDER)}
    assert not named["unread"] & named["left out"]
    assert {"bands.tif", "eps.png"} <= named["format"]
    assert {"dicom.png", "half.png", "half_stream.png", "tRNS.png", "text.png"} <= named["unreadable"]


def test_inspect_calls_it_an_error_where_an_evaluation_set_shrinks(tmp_path: Path) -> None:
    fill_folder(tmp_path / "Mine", READ, UNREAD)
    source = build(Benchmark, tmp_path, test=["Mine"])
    (where, folder), *_ = list_files(source).folders
    assert {finding.kind: finding.is_error for finding in find_left_out(folder, where)} == {
        "unread": True,
        "left out": False,
    }


@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"restart_marker_blocks": 2}])
def test_inspect_finds_a_jpeg_that_ends_early_but_has_an_end_marker(tmp_path: Path, options: dict[str, Any]) -> None:
    make_image().save(tmp_path / "whole.jpg", **options)
    content = (tmp_path / "whole.jpg").read_bytes()
    start = content.index(b"\xff\xda")  # of the pixels
    (tmp_path / "short.jpg").write_bytes(content[: (start + len(content)) // 2] + b"\xff\xd9")
    reports = inspect_files([tmp_path / "whole.jpg", tmp_path / "short.jpg"], TRAINING, KnownResults(None))
    (finding,) = (finding for finding in find_defects(reports, TRAINING, 16, "") if finding.items)
    assert (finding.kind, [item["file"] for item in finding.items]) == ("gray end", ["short.jpg"])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "evaluate", "inspect", "run"])
def test_whole_commands_name_or_do_every_entry(command: str, tmp_path: Path, sr: Callable) -> None:
    kinds = fill_folder(tmp_path / "in", *EVERYTHING)
    options = {
        "predict": (f"checkpoint={save_checkpoint(tmp_path / 'best.ckpt')}", "input=in", "output=out"),
        "evaluate": ("model/net=bicubic", "scale=2", "data.test=[in]", f"paths.data={tmp_path}", "track=none"),
        "inspect": ("data=folder", "data.path=in", "data.patch=16", "scale=2"),
        "run": ("data=folder", "data.path=in", "data.patch=16", "scale=2", "trainer.max_steps=1", "track=none"),
    }
    answer = sr(command, *options[command])
    assert answer.code == (1 if command == "inspect" else 2)
    text = answer.out + answer.err + ((tmp_path / "inspect.json").read_text() if command == "inspect" else "")
    for name, kind in kinds.items():
        if command == "inspect" and kind == FRAMES:
            assert name in text
        if kind == BAD and command in ("inspect", "run"):
            assert name in text
    if command == "predict":
        manifest = json.loads((tmp_path / "out" / "predict.json").read_text())
        done = {Path(entry["source"]).name for entry in manifest["images"]}
        assert done >= {name for name, kind in kinds.items() if kind in (READ, DEEP, FRAMES)}
        left_out = {Path(entry["source"]).name for entry in manifest["left_out"]}
        more = {"bands.tif", "float.tif", "signed.tif"} & done  # read by sr[images], and refused by training
        assert left_out == {name for name, kind in kinds.items() if kind in (UNREAD, BAD)} - more
    elif command == "evaluate":
        assert "expected a set of images that are all read" in text
        assert "a.ico (ICO)" in text
    else:
        files = sum(kind == UNREAD for kind in kinds.values())
        folders = sum(kind == FOLDER for kind in kinds.values())
        assert count_left_out(text) == (files, folders)


# Single errors


def test_every_error_of_the_training_files_is_in_one_list(tmp_path: Path) -> None:
    for k in range(12):
        write_image(tmp_path / "hr" / f"p{k:02d}.png", seed=k)
    (tmp_path / "hr" / "mode.jpg").write_text("%!PS")
    write_image(tmp_path / "hr" / "small.png", 12, 40)
    write_half_png(tmp_path / "hr" / "p09.png")  # held out: every tenth
    (tmp_path / "hr" / "text.png").write_text("no image")
    whole = (tmp_path / "hr" / "p03.png").read_bytes()
    (tmp_path / "hr" / "p03.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        build(Folder, tmp_path, path=str(tmp_path / "hr"), val=["folder"]).setup("fit")
    lines = str(error.value).splitlines()
    names = [Path(line.split(": ")[0]).name for line in lines]
    assert names == ["p03.png", "small.png", "text.png", "mode.jpg", "p09.png"]
    assert "40×12 pixels, but data.patch=16 is larger" in lines[1]


def test_every_error_of_pairs_is_in_one_list(tmp_path: Path) -> None:
    from sr.data.pair import PairFolder

    for k in range(4):
        write_image(tmp_path / "hr" / f"p{k}.png", seed=k)
        with Image.open(tmp_path / "hr" / f"p{k}.png") as image:
            (tmp_path / "lr").mkdir(exist_ok=True)
            image.resize((28, 24)).save(tmp_path / "lr" / f"p{k}.png")
    (tmp_path / "lr" / "p1.png").unlink()
    write_half_png(tmp_path / "hr" / "p2.png")
    (tmp_path / "lr" / "p3.png").write_text("no image")
    with pytest.raises(UserError) as error:
        build(PairFolder, tmp_path, hr=str(tmp_path / "hr"), lr=str(tmp_path / "lr")).setup("fit")
    text = str(error.value)
    assert "hr/p1.png: no LR image of this name" in text
    assert "hr/p2.png: this image is damaged" in text
    assert text.count("lr/p3.png: this is not an image") == 1


def test_a_damaged_image_of_an_evaluation_set_is_found_before_training(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "Mine" / f"{k}.png", seed=k)
        write_image(tmp_path / "hr" / f"{k}.png", seed=k)
    write_half_png(tmp_path / "Mine" / "1.png")
    write_image(tmp_path / "Mine" / "small.png", 12, 40)
    for split, stage in (("val", "fit"), ("test", "test")):
        with pytest.raises(UserError) as error:
            build(Folder, tmp_path, path=str(tmp_path / "hr"), **{split: ["Mine"]}).setup(stage)
        names = [Path(line.split(": ")[0]).name for line in str(error.value).splitlines()]
        assert sorted(names) == ["1.png", "small.png"]


@pytest.mark.parametrize("name", ["d.tif", "c.png", "b.webp"])
def test_a_file_of_several_pages_is_an_error_in_an_evaluation_set(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "Mine" / "HR" / "a.png")
    write_frames(tmp_path / "Mine" / "HR" / name)
    with pytest.raises(UserError, match=rf"data\.test=Mine: expected one image in each file .*: {name} \(4\)"):
        build(Benchmark, tmp_path, test=["Mine"]).setup("test")


def test_lr_pages_must_be_those_of_hr(tmp_path: Path) -> None:
    from sr.data.matching import match_files

    make_image().save(tmp_path / "a.png")
    write_frames(tmp_path / "ax1.png", 3)
    with pytest.raises(UserError, match=r"ax1\.png: 3 frame\(s\) or page\(s\), but a\.png has 1"):
        match_files([tmp_path / "a.png"], [tmp_path / "ax1.png"], 1)


def test_result_images_of_several_pages_are_an_error(tmp_path: Path) -> None:
    from sr.evaluation.predictor import ImagePredictor
    from sr.metric.protocol import Protocol

    write_image(tmp_path / "a.png")
    write_frames(tmp_path / "b.tif")
    with pytest.raises(UserError, match=r"images=.*: expected one image in each file .*: b\.tif \(4\)"):
        ImagePredictor(tmp_path, {"Mine": ["a", "b"]}, Protocol("edsr", 2, "rgb", "rgb"))


def test_a_photo_with_its_preview_in_one_jpeg_are_one_image_of_a_set(tmp_path: Path) -> None:
    """The further frame of such a file is a preview, a depth map or a gain map."""
    write_image(tmp_path / "Mine" / "a.png")
    frames = [make_image(), make_image().resize((8, 8))]
    frames[0].save(tmp_path / "Mine" / "b.jpg", format="MPO", save_all=True, append_images=frames[1:])
    source = build(Benchmark, tmp_path, test=["Mine"])
    source.setup("test")
    assert source.eval_sets["test"][0].names == ["a", "b"]
