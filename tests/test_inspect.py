"""`sr.inspect` finds and names every planted defect, and reports nothing for clean sets."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_image
from PIL import Image, ImageOps
from specimen import jpeg, matlab

CLEAN = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SETS = ("camera.png", "motorcycle_left.png", "coins.png")


@pytest.fixture(scope="module")
def filled_shelf(tmp_path_factory: pytest.TempPathFactory, photos: Any) -> Path:
    """Write the photographs once: to encode them takes half a second."""
    root = tmp_path_factory.mktemp("shelf")
    for folder, names in (("train", CLEAN), ("sets/Known/HR", SETS)):
        (root / folder).mkdir(parents=True)
        for name in names:
            photos(name).save(root / folder / f"{Path(name).stem}.png")
    return root


@pytest.fixture
def shelf(tmp_path: Path, filled_shelf: Path) -> Path:
    """`train` with four photographs, and a set `Known` with three others."""
    shutil.copytree(filled_shelf, tmp_path, dirs_exist_ok=True)
    return tmp_path


def folder(shelf: Path) -> list[str]:
    return ["data=folder", f"data.path={shelf}/train", "data.val=[Known]", "data.test=[Known]"]


def test_a_clean_folder(shelf: Path, inspect: Any) -> None:
    code, found, out = inspect(*folder(shelf))
    assert (code, found) == (0, {})
    assert "Nothing was found" in out


@pytest.mark.slow(1)
def test_files_that_cannot_be_read_never_stop_it(shelf: Path, inspect: Any) -> None:
    train = shelf / "train"
    (train / "text.png").write_text("no image")
    (train / "empty.png").touch()
    whole = (train / "coffee.png").read_bytes()
    (train / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.open(train / "chelsea.png").rotate(180).save(train / "long.jpg", quality=95)
    whole = (train / "long.jpg").read_bytes()
    (train / "half.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    (train / "long.jpg").unlink()
    code, found, _ = inspect(*folder(shelf))
    assert code == 1
    assert set(found) == {"unreadable"}
    assert {item["file"] for item in found["unreadable"]} == {"text.png", "empty.png", "half.png", "half.jpg"}


@pytest.mark.slow(2)
def test_odd_formats(shelf: Path, photos: Any, inspect: Any) -> None:
    train, face = shelf / "train", photos("astronaut.png")
    deep = np.random.default_rng(0).integers(0, 65536, (99, 99), dtype=np.uint16)
    Image.fromarray(deep).save(train / "deep.png")
    face.crop((0, 300, 150, 500)).convert("CMYK").save(train / "print.jpg")
    face.crop((300, 300, 500, 500)).quantize(64).save(train / "few.png")
    faded = face.crop((0, 0, 180, 180))
    faded.putalpha(128)
    faded.save(train / "faded.png")
    write_image(train / "gray.png", 128, 128, mode="L")
    code, found, _ = inspect(*folder(shelf))
    assert code == 1
    assert {item["file"] for item in found["depth"]} == {"deep.png"}
    for kind, names in (("palette", ["few.png"]), ("alpha", ["faded.png"]), ("gray", ["deep.png", "gray.png"])):
        assert [item["file"] for item in found[kind]] == names
    assert not {"unreadable", "leak", "duplicate"} & set(found)


@pytest.mark.slow(1)
def test_oddities_alone_are_no_errors(shelf: Path, inspect: Any) -> None:
    write_image(shelf / "train" / "gray.png", 128, 128, mode="L")
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (0, {"gray"})


@pytest.mark.slow(2)
def test_too_small(shelf: Path, inspect: Any) -> None:
    write_image(shelf / "train" / "tiny.png", 95, 200)
    code, found, out = inspect(*folder(shelf))
    assert (code, [item["file"] for item in found["small"]]) == (1, ["tiny.png"])
    assert "data.patch=96" in out
    assert inspect(*folder(shelf), "data.patch=64")[0] == 0


@pytest.mark.slow(2)
def test_duplicates(shelf: Path, photos: Any, inspect: Any) -> None:
    train = shelf / "train"
    photos("coffee.png").save(train / "same.bmp")
    jpeg(photos("rocket.jpg").resize((320, 213)), 60).save(train / "smaller.png")
    ImageOps.mirror(photos("chelsea.png")).save(train / "turned.jpg", quality=80)
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (0, {"duplicate", "near duplicate"})
    pairs = {frozenset((i["file"], i["of"])) for kind in found for i in found[kind]}
    expected = ({"coffee.png", "same.bmp"}, {"rocket.png", "smaller.png"}, {"chelsea.png", "turned.jpg"})
    assert pairs == set(map(frozenset, expected))
    assert [i["mirrored"] for i in found["near duplicate"] if "turned.jpg" in (i["file"], i["of"])] == [True]


CROPS = {  # left, top, right, bottom as fractions of the image; about half of the area and more
    "middle": (0.14, 0.14, 0.88, 0.86),
    "corner": (0.25, 0.28, 1.0, 1.0),
    "strip": (0.0, 0.2, 1.0, 0.8),
    "whole": (0.0, 0.0, 1.0, 1.0),
}


@pytest.mark.parametrize(
    ("crop", "size", "mirrored"),
    [("middle", 0.5, False), ("corner", 0.7, True), ("strip", 1.5, True), ("whole", 0.5, True), ("corner", 1.5, False)],
)
@pytest.mark.slow
def test_leaks_survive_crop_mirror_size_and_jpeg(
    crop: str, size: float, mirrored: bool, shelf: Path, photos: Any, inspect: Any
) -> None:
    for name in SETS:
        image = photos(name)
        image = image.crop(tuple(round(p * n) for p, n in zip(CROPS[crop], image.size * 2, strict=True)))
        image = ImageOps.mirror(image) if mirrored else image
        image = image.resize(tuple(round(n * size) for n in image.size), Image.Resampling.BICUBIC)
        jpeg(image).save(shelf / "train" / f"of_{Path(name).stem}.png")
    code, found, out = inspect(*folder(shelf), "data.patch=48")
    leaks = found.pop("leak")
    assert (code, found) == (1, {})
    assert {(i["file"], i["image"]) for i in leaks} == {(f"of_{Path(n).stem}.png", f"{Path(n).stem}.png") for n in SETS}
    left, top, right, bottom = CROPS[crop]
    for item in leaks:
        assert item["mirrored"] == mirrored
        assert item["size"] == pytest.approx(size, rel=0.03)
        assert item["share_of_second"] == pytest.approx((right - left) * (bottom - top), abs=0.05)
        assert item["likeness"] > 0.6
        width, height = photos(Path(item["image"]).name).size
        assert item["crop"] == pytest.approx(
            [left * width, top * height, right * width, bottom * height], abs=0.03 * width
        )
    assert ("mirrored" in out.split("Checked")[0]) == mirrored


@pytest.mark.slow(1)
def test_an_evaluation_image_cut_from_a_training_image(shelf: Path, photos: Any, inspect: Any) -> None:
    jpeg(photos("astronaut.png").crop((60, 20, 420, 400)).resize((250, 264)), 80).save(shelf / "sets/Known/HR/face.png")
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (1, {"leak"})
    assert [(i["file"], i["image"]) for i in found["leak"]] == [("astronaut.png", "face.png")]
    assert found["leak"][0]["share_of_second"] > 0.97
    assert found["leak"][0]["size"] == pytest.approx(360 / 250, rel=0.02)


def test_what_a_folder_holds_out_for_itself_is_an_evaluation_set(shelf: Path, photos: Any, inspect: Any) -> None:
    jpeg(photos("astronaut.png")).save(shelf / "train" / "later.png")  # astronaut.png, the first one, is held out
    code, found, _ = inspect("data=folder", f"data.path={shelf}/train")
    assert (code, set(found)) == (1, {"leak"})
    assert [(i["file"], i["set"]) for i in found["leak"]] == [("later.png", "folder")]


def test_windows_have_the_hashes_of_imagehash(photos: Any) -> None:
    """They differ by two signs at most from those of the library, which resizes and rounds each window."""
    import imagehash

    from sr.inspection.windows import hash_windows, list_squares

    for size in ((128, 96), (48, 128)):
        image = photos("coffee.png").convert("L").resize(size)
        boxes, signs = hash_windows(image, list_squares(*size, (1.0, 0.6), 0.3))
        assert len(boxes) > 5
        for box, row in zip(boxes, signs, strict=True):
            part = image.resize((32, 32), Image.Resampling.LANCZOS, box=tuple(box))
            assert (imagehash.phash(part).hash.ravel() != (row > 0)).sum() <= 2


def test_flat_windows_have_no_hash() -> None:
    from sr.inspection.windows import hash_windows, list_squares

    pixels = np.zeros((64, 128), np.uint8)
    pixels[:, 64:] = np.tile([90, 110], 32)
    boxes, _ = hash_windows(Image.fromarray(pixels), list_squares(128, 64, (1.0,), 0.5))
    assert boxes[:, 0].tolist() == [32, 64]


def test_what_did_not_change_is_not_decoded_again(
    shelf: Path, photos: Any, inspect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is the same; a file that changed is noticed."""
    from sr.inspection import defects

    train = shelf / "train"
    photos("coins.png").crop((40, 0, 380, 300)).save(train / "leak.png")
    photos("rocket.jpg").resize((320, 213)).save(train / "smaller.png")
    words = [*folder(shelf), f"paths.cache={shelf}/cache"]
    first = inspect(*words)
    assert set(first[1]) == {"leak", "near duplicate"}
    with monkeypatch.context() as patch:
        patch.delattr(defects, "read_image")
        assert inspect(*words) == first
    photos("chelsea.png").resize((225, 150)).save(train / "smaller.png")
    assert [(x["file"], x["of"]) for x in inspect(*words)[1]["near duplicate"]] == [("smaller.png", "chelsea.png")]


def test_correlation_is_scikit_images(photos: Any) -> None:
    from skimage.feature import match_template

    from sr.inspection.register import correlate

    field = np.asarray(photos("coffee.png").convert("L").resize((61, 50)), dtype=np.float32)
    piece = field[5:40, 9:52] + 3
    assert np.allclose(correlate(field, piece), match_template(field, piece), atol=1e-4)


def test_benchmark(shelf: Path, inspect: Any) -> None:
    """The sets themselves; their LR files are examined where there are some."""
    import torch

    known = shelf / "sets" / "Known"
    (known / "LR_bicubic" / "X2").mkdir(parents=True)
    for path in (known / "HR").iterdir():
        hr = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        hr = hr[:, : hr.shape[1] // 2 * 2, : hr.shape[2] // 2 * 2]
        lr = matlab(2)(hr).permute(1, 2, 0).numpy()
        Image.fromarray(lr).save(known / "LR_bicubic" / "X2" / f"{path.stem}x2.png")
    words = ["data=benchmark", "model/net=bicubic", "data.val=[Known]", "data.test=[Known]"]
    code, found, out = inspect(*words)
    assert (code, found) == (0, {})
    assert "bit for bit in 3 of 3 pairs" in out
    assert inspect(*words, "scale=3")[0] == 0  # no LR files of this scale: nothing to examine
    (known / "HR" / "coins.png").write_bytes(b"no image")
    assert set(inspect(*words)[1]) == {"unreadable"}


def test_benchmark_reports_photographs_that_two_sets_share(shelf: Path, photos: Any, inspect: Any) -> None:
    (shelf / "sets" / "Other").mkdir()
    photos("camera.png").crop((0, 0, 400, 420)).save(shelf / "sets" / "Other" / "man.png")
    code, found, _ = inspect("data=benchmark", "data.val=[Known]", "data.test=[Known,Other]")
    assert (code, set(found)) == (0, {"shared"})
    assert [(i["file"], i["image"]) for i in found["shared"]] == [("camera.png", "man.png")]


@pytest.mark.slow(2)
def test_sample(inspect: Any) -> None:
    code, found, _ = inspect("data=sample")
    assert (code, {kind for kind in found if kind != "gray"}) == (0, set())


def test_cifar10(world: Path, sr: Any, tmp_path: Path) -> None:
    answer = sr("inspect", "data=cifar10", f"paths.data={world}")
    assert answer.code == 0
    assert "Not checked" in answer.out
    sets = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))["sets"]
    assert [(s["set"], s["images"]) for s in sets] == [("training set", 90), ("validation set", 10), ("test set", 20)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data=folder", "data.path={0}/nowhere"], "data.path="),
        (["data=folder"], "data.path=DIR"),
        (["data=pair", "data.lr={0}/train"], "data.lr=DIR data.hr=DIR"),
        (["data=folder", "data.path={0}/train", "data.test=[Set6]"], "data.test=Set6"),
        (["data=folder", "data.path={0}/train", "expect=matlabb"], 'Did you mean "matlab"?'),
        (["data=folder", "data.path={0}/train", "data.val=[Known]", "data.test=[Known]", "out={0}/train/rocket.png/x"], "out="),
    ],
)  # fmt: skip
def test_wrong_words(words: list[str], says: str, shelf: Path, sr: Any) -> None:
    answer = sr("inspect", f"paths.data={shelf}/sets", *(word.format(shelf) for word in words))
    assert answer.code == 2
    assert says in answer.err
