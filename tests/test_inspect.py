"""`sr.inspect` finds every fault that was planted, names it, and is silent over clean sets."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import Image, ImageOps

CLEAN = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SETS = ("camera.png", "motorcycle_left.png", "coins.png")


@pytest.fixture(scope="module")
def photos() -> Callable[[str], Image.Image]:
    """Photographs that scikit-image carries."""
    import skimage

    where = Path(skimage.__file__).parent / "data"

    def photo(name: str) -> Image.Image:
        with Image.open(where / name) as image:
            return image.convert("RGB")

    return photo


@pytest.fixture
def shelf(tmp_path: Path, photos: Any) -> Path:
    """`train` with four photographs, and a set `Known` with three others."""
    for folder, names in (("train", CLEAN), ("sets/Known/HR", SETS)):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            photos(name).save(tmp_path / folder / f"{Path(name).stem}.png")
    return tmp_path


@pytest.fixture
def inspect(sr: Any, tmp_path: Path) -> Callable[..., tuple[int, dict[str, list[dict[str, Any]]], str]]:
    """Types the command; gives (exit code, items by kind of finding, what was printed)."""

    def command(*words: str) -> tuple[int, dict[str, list[dict[str, Any]]], str]:
        answer = sr("inspect", f"paths.data={tmp_path}/sets", *words)
        assert answer.code in (0, 1), answer.err
        whole = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))
        assert whole["spoiled"] == bool(answer.code)
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in whole["findings"]:
            assert finding["count"] == len(finding["items"])
            assert finding["todo"] in answer.out
            found.setdefault(finding["kind"], []).extend(finding["items"])
        return answer.code, found, answer.out

    return command


def folder(shelf: Path) -> list[str]:
    return ["data=folder", f"data.path={shelf}/train", "data.val=[Known]", "data.test=[Known]"]


def jpeg(image: Image.Image, quality: int = 50) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def test_a_clean_folder(shelf: Path, inspect: Any) -> None:
    code, found, out = inspect(*folder(shelf))
    assert (code, found) == (0, {})
    assert "Nothing was found" in out


def test_files_that_cannot_be_read_never_stop_it(shelf: Path, inspect: Any) -> None:
    train = shelf / "train"
    (train / "text.png").write_text("this is not a picture")
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


def test_odd_formats(shelf: Path, photos: Any, inspect: Any) -> None:
    train, face = shelf / "train", photos("astronaut.png")
    deep = np.random.default_rng(0).integers(0, 65536, (99, 99), dtype=np.uint16)
    Image.fromarray(deep).save(train / "deep.png")
    face.crop((0, 300, 150, 500)).convert("CMYK").save(train / "print.jpg")
    face.crop((300, 300, 500, 500)).quantize(64).save(train / "few.png")
    faded = face.crop((0, 0, 180, 180))
    faded.putalpha(128)
    faded.save(train / "faded.png")
    picture(train / "gray.png", 128, 128, mode="L")
    code, found, _ = inspect(*folder(shelf))
    assert code == 1
    assert {item["file"] for item in found["format"]} == {"deep.png", "print.jpg"}
    for kind, name in (("palette", "few.png"), ("alpha", "faded.png"), ("gray", "gray.png")):
        assert [item["file"] for item in found[kind]] == [name]
    assert not {"unreadable", "leak", "duplicate"} & set(found)


def test_oddities_alone_do_not_spoil(shelf: Path, inspect: Any) -> None:
    picture(shelf / "train" / "gray.png", 128, 128, mode="L")
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (0, {"gray"})


def test_too_small(shelf: Path, inspect: Any) -> None:
    picture(shelf / "train" / "tiny.png", 95, 200)
    code, found, out = inspect(*folder(shelf))
    assert (code, [item["file"] for item in found["small"]]) == (1, ["tiny.png"])
    assert "data.patch=96" in out
    assert inspect(*folder(shelf), "data.patch=64")[0] == 0


def test_duplicates(shelf: Path, photos: Any, inspect: Any) -> None:
    train = shelf / "train"
    photos("coffee.png").save(train / "same.bmp")
    jpeg(photos("rocket.jpg").resize((320, 213)), 60).save(train / "smaller.png")
    ImageOps.mirror(photos("chelsea.png")).save(train / "turned.jpg", quality=80)
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (1, {"duplicate", "near duplicate"})
    pairs = {frozenset((i["file"], i["of"])) for kind in found for i in found[kind]}
    expected = ({"coffee.png", "same.bmp"}, {"rocket.png", "smaller.png"}, {"chelsea.png", "turned.jpg"})
    assert pairs == set(map(frozenset, expected))
    assert [i["mirrored"] for i in found["near duplicate"] if "turned.jpg" in (i["file"], i["of"])] == [True]


CROPS = {  # left, top, right, bottom in parts of the picture; about half of the area and more
    "middle": (0.14, 0.14, 0.88, 0.86),
    "corner": (0.25, 0.28, 1.0, 1.0),
    "strip": (0.0, 0.2, 1.0, 0.8),
    "whole": (0.0, 0.0, 1.0, 1.0),
}


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("size", "mirrored"), [(0.5, False), (0.7, True), (1.5, True)])
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
    assert {(i["file"], i["picture"]) for i in leaks} == {
        (f"of_{Path(n).stem}.png", f"{Path(n).stem}.png") for n in SETS
    }
    left, top, right, bottom = CROPS[crop]
    for item in leaks:
        assert item["mirrored"] == mirrored
        assert item["size"] == pytest.approx(size, rel=0.03)
        assert item["share_of_second"] == pytest.approx((right - left) * (bottom - top), abs=0.05)
        assert item["likeness"] > 0.6
        width, height = photos(Path(item["picture"]).name).size
        assert item["crop"] == pytest.approx(
            [left * width, top * height, right * width, bottom * height], abs=0.03 * width
        )
    assert ("mirrored" in out.split("Checked")[0]) == mirrored


def test_an_evaluation_picture_cut_from_a_training_picture(shelf: Path, photos: Any, inspect: Any) -> None:
    jpeg(photos("astronaut.png").crop((60, 20, 420, 400)).resize((250, 264)), 80).save(shelf / "sets/Known/HR/face.png")
    code, found, _ = inspect(*folder(shelf))
    assert (code, set(found)) == (1, {"leak"})
    assert [(i["file"], i["picture"]) for i in found["leak"]] == [("astronaut.png", "face.png")]
    assert found["leak"][0]["share_of_second"] > 0.97
    assert found["leak"][0]["size"] == pytest.approx(360 / 250, rel=0.02)


def test_what_a_folder_holds_out_for_itself_is_an_evaluation_set(shelf: Path, photos: Any, inspect: Any) -> None:
    jpeg(photos("astronaut.png")).save(shelf / "train" / "later.png")  # astronaut.png, the first one, is held out
    code, found, _ = inspect("data=folder", f"data.path={shelf}/train")
    assert (code, set(found)) == (1, {"leak"})
    assert [(i["file"], i["set"]) for i in found["leak"]] == [("later.png", "folder")]


def test_the_sieve_is_imagehash(photos: Any) -> None:
    """The vectorised hash has the library's very bits."""
    import imagehash

    from sr.inspection.windows import signs

    image = photos("coffee.png").convert("L").resize((64, 64))
    boxes = np.array([(0, 0, 64, 64), (0, 0, 32, 32), (8, 16, 40, 48)], dtype=float)
    kept, bits = signs(image, boxes)
    for k, row in zip(kept, bits, strict=True):
        part = image.resize((32, 32), Image.Resampling.LANCZOS, box=tuple(boxes[k]))
        assert np.array_equal(imagehash.phash(part).hash.ravel(), row > 0)


def test_correlation_is_scikit_images(photos: Any) -> None:
    from skimage.feature import match_template

    from sr.inspection.register import correlation

    field = np.asarray(photos("coffee.png").convert("L").resize((61, 50)), dtype=np.float32)
    piece = field[5:40, 9:52] + 3
    assert np.allclose(correlation(field, piece), match_template(field, piece), atol=1e-4)


# LR and HR


@pytest.fixture
def pairs(tmp_path: Path, photos: Any) -> Callable[..., list[str]]:
    """`pairs(shrink)` writes HR and `shrink(hr)` as LR, three each; gives the words of data=pair."""

    def write(shrink: Callable[[Any], Any], scale: int = 2) -> list[str]:
        import torch

        for folder in ("hr", "lr"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
            (tmp_path / folder).mkdir()
        for name in ("astronaut.png", "chelsea.png", "rocket.jpg"):
            image = photos(name).crop((96, 20, 96 + 240, 20 + 192))
            image.save(tmp_path / "hr" / f"{Path(name).stem}.png")
            hr = torch.from_numpy(np.array(image)).permute(2, 0, 1)
            lr = np.asarray(shrink(hr).permute(1, 2, 0)).astype(np.uint8)
            Image.fromarray(lr).save(tmp_path / "lr" / f"{Path(name).stem}x{scale}.png")
        (tmp_path / "sets").mkdir(exist_ok=True)
        return ["data=pair", f"data.hr={tmp_path}/hr", f"data.lr={tmp_path}/lr", f"scale={scale}"]

    return write


def matlab(scale: int) -> Callable[[Any], Any]:
    from sr.degrade.resize import imresize

    return lambda hr: imresize(hr, 1 / scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_of_matlab_are_clean(scale: int, pairs: Any, inspect: Any) -> None:
    code, found, out = inspect(*pairs(matlab(scale), scale))
    assert (code, found) == (0, {})
    assert "MATLAB's bicubic, mirror border (bit for bit in 3 of 3 pairs)" in out


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "kernel",
    ["matlab_replicate", "matlab_once", "matlab_aliased", "opencv_cubic", "pillow_bicubic", "pillow_lanczos",
     "pillow_bilinear", "torch_bicubic", "box", "bilinear", "subsampled", "subsampled_centre"],
)  # fmt: skip
def test_each_kernel_is_told_by_name(kernel: str, scale: int, pairs: Any, inspect: Any) -> None:
    from sr.inspection.kernels import KERNELS

    title, shrink = KERNELS[kernel]
    words = pairs(lambda hr: shrink(hr, scale), scale)
    code, found, out = inspect(*words)
    assert all(kernel in item["kernels"] and item["psnr"] is None for item in found["kernel"])
    assert len(found["kernel"]) == 3
    assert title in out
    assert "bit for bit in 3 of 3 pairs" in out
    assert code == (0 if kernel == "matlab_replicate" else 1)
    assert ("shift" in found) == kernel.startswith("subsampled")
    if not kernel.startswith("subsampled"):
        assert inspect(*words, f"expect={kernel}")[:2] == (0, {})


def test_kernels_agree_with_code_that_is_not_ours(photos: Any) -> None:
    """Pillow's own resize, and plain slicing and averaging in NumPy."""
    import torch

    from sr.inspection.kernels import judge

    image = photos("chelsea.png").crop((0, 0, 200, 160))
    array = np.array(image)
    made = {
        "pillow_bicubic": np.array(image.resize((100, 80), Image.Resampling.BICUBIC)),
        "pillow_lanczos": np.array(image.resize((100, 80), Image.Resampling.LANCZOS)),
        "box": np.floor(array.reshape(80, 2, 100, 2, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8),
        "subsampled": array[::2, ::2],
    }
    hr = torch.from_numpy(array).permute(2, 0, 1)
    for kernel, lr in made.items():
        found = judge(torch.from_numpy(lr.copy()).permute(2, 0, 1), hr, 2, "matlab")
        assert found[kernel] == float("inf")


@pytest.mark.parametrize("how", ["noise", "blur", "jpeg"])
def test_no_kernel_fits(how: str, pairs: Any, inspect: Any) -> None:
    import torch
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)

    def spoil(hr: Any) -> Any:
        lr = matlab(2)(hr).numpy()
        if how == "noise":
            lr = lr + rng.normal(0, 8, lr.shape)
        elif how == "blur":
            lr = gaussian_filter(lr.astype(float), (0, 1.2, 1.2))
        else:
            lr = np.array(jpeg(Image.fromarray(lr.transpose(1, 2, 0)), 60)).transpose(2, 0, 1)
        return torch.from_numpy(lr.clip(0, 255).round())

    words = pairs(spoil)
    code, found, out = inspect(*words)
    assert (code, set(found)) == (1, {"kernel"})
    assert all(item["kernels"] == [] for item in found["kernel"])
    assert "none of the" in out
    assert inspect(*words, "expect=any")[:2] == (0, {})


@pytest.mark.parametrize("moved", [(0.5, 0.0), (0.5, -0.5), (-1.0, 2.0)])
def test_a_shift_is_measured(moved: tuple[float, float], pairs: Any, inspect: Any) -> None:
    """In HR pixels, half a pixel and more."""
    import torch
    from scipy.ndimage import shift

    def shrink(hr: Any) -> Any:
        there = shift(hr.double().numpy(), (0, *moved), order=3, mode="mirror")
        return matlab(2)(torch.from_numpy(there.clip(0, 255).round().astype(np.uint8)))

    code, found, out = inspect(*pairs(shrink), "expect=any")
    assert (code, set(found)) == (1, {"shift"})
    for item in found["shift"]:
        assert (item["down"] * 2, item["right"] * 2) == pytest.approx(moved, abs=0.06)
    assert "HR pixels" in out


def test_subsampling_is_a_shift_and_is_called_so(pairs: Any, inspect: Any) -> None:
    code, found, out = inspect(*pairs(lambda hr: hr[:, ::4, ::4], 4))
    assert (code, set(found)) == (1, {"kernel", "shift"})
    for item in found["shift"]:
        assert (item["down"], item["right"]) == pytest.approx((0.375, 0.375))
    assert "every s-th pixel" in out


def test_pairs_that_do_not_match(pairs: Any, photos: Any, tmp_path: Path, inspect: Any) -> None:
    words = pairs(matlab(2))
    picture(tmp_path / "hr" / "alone.png", 128, 128, seed=1)
    picture(tmp_path / "lr" / "lost_x2.png", 64, 64, seed=2)
    picture(tmp_path / "hr" / "wide.png", 128, 128, seed=3)
    picture(tmp_path / "lr" / "wide_x2.png", 64, 60, seed=3)
    picture(tmp_path / "hr" / "gray.png", 128, 128, seed=4, mode="L")
    picture(tmp_path / "lr" / "gray.png", 64, 64, seed=4)
    (tmp_path / "lr" / "chelseax2.png").write_bytes(b"cut off")
    code, found, _ = inspect(*words, "expect=any")
    assert code == 1
    assert {item["file"] for item in found["unmatched"]} == {"alone.png", "lost_x2.png"}
    assert [item["file"] for item in found["size"]] == ["wide_x2.png"]
    assert [item["file"] for item in found["color"]] == ["gray.png"]
    assert [item["file"] for item in found["unreadable"]] == ["chelseax2.png"]


def test_pairs_are_matched_as_data_pair_does(pairs: Any, tmp_path: Path, inspect: Any) -> None:
    from sr.data.pair import PairFolder

    words = pairs(matlab(2))
    for name, ending in (("astronaut", "_x2"), ("chelsea", ""), ("rocket", "-X2")):
        (tmp_path / "lr" / f"{name}x2.png").rename(tmp_path / "lr" / f"{name}{ending}.png")
    data = PairFolder(lr=str(tmp_path / "lr"), hr=str(tmp_path / "hr"), patch=32, scale=2, color="rgb", seed=0,
                      root=".", degrade=None, val=["pair"], test=["pair"])  # fmt: skip
    assert len(data._all()) == 3
    assert inspect(*words)[:2] == (0, {})


# Sources, and words that are wrong


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
    (known / "HR" / "coins.png").write_bytes(b"no picture")
    assert set(inspect(*words)[1]) == {"unreadable"}


def test_benchmark_tells_what_two_sets_share(shelf: Path, photos: Any, inspect: Any) -> None:
    (shelf / "sets" / "Other").mkdir()
    photos("camera.png").crop((0, 0, 400, 420)).save(shelf / "sets" / "Other" / "man.png")
    code, found, _ = inspect("data=benchmark", "data.val=[Known]", "data.test=[Known,Other]")
    assert (code, set(found)) == (0, {"shared"})
    assert [(i["file"], i["picture"]) for i in found["shared"]] == [("camera.png", "man.png")]


def test_sample(inspect: Any) -> None:
    code, found, _ = inspect("data=sample")
    assert (code, {kind for kind in found if kind != "gray"}) == (0, set())


def test_cifar10(world: Path, sr: Any, tmp_path: Path) -> None:
    answer = sr("inspect", "data=cifar10", f"paths.data={world}")
    assert answer.code == 0
    assert "Not checked" in answer.out
    sets = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))["sets"]
    assert [(s["set"], s["pictures"]) for s in sets] == [("training set", 90), ("validation set", 10), ("test set", 20)]


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


# Real images


@pytest.fixture
def known() -> Callable[..., list[str]]:
    from sr.data.leaks import known_leaks

    return known_leaks


def tensor(image: Image.Image) -> Any:
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_the_leak_of_bsds500_into_set5(sr_data: Path, tmp_path: Path, inspect: Any) -> None:
    train = [*sorted((sr_data / "BSDS500" / "train").glob("*.jpg"))[:6], sr_data / "BSDS500" / "train" / "302003.jpg"]
    (tmp_path / "train").mkdir()
    for path in train:
        shutil.copy(path, tmp_path / "train")
    code, found, _ = inspect(
        "data=folder", f"data.path={tmp_path}/train", f"paths.data={sr_data}", "data.val=[Set5]", "data.test=[Set5]"
    )
    assert (code, set(found)) == (1, {"leak"})
    assert [(i["file"], i["set"], i["picture"]) for i in found["leak"]] == [("302003.jpg", "Set5", "woman.png")]
    assert found["leak"][0]["likeness"] > 0.9


def test_lr_of_the_benchmarks_is_matlabs(sr_data: Path, inspect: Any) -> None:
    words = ["data=benchmark", f"paths.data={sr_data}", "data.val=[Set5]", "data.test=[Set5]"]
    code, found, out = inspect(*words, "scale=3")
    assert (code, found) == (0, {})
    assert "bit for bit in 5 of 5 pairs" in out
    code, found, _ = inspect(*words, "scale=8")
    assert (code, set(found)) == (0, {"kernel"})
    assert all(item["kernels"] == ["matlab_replicate"] for item in found["kernel"])


def test_known_leaks_are_recognised(sr_data: Path, known: Any) -> None:
    with Image.open(sr_data / "BSDS500" / "train" / "302003.jpg") as image:
        woman = image.convert("RGB")
    versions = [woman, ImageOps.mirror(woman), woman.resize((160, 240)), woman.resize((480, 720)), jpeg(woman, 40)]
    for k, version in enumerate(versions):
        (line,) = known([(f"v{k}", tensor(version))], ["Set5", "elsewhere/Set14"])
        assert line.startswith(f"v{k} shows the same photograph as Set5/woman")
    assert known([("woman", tensor(woman))], ["Set14"]) == []
    others = sorted((sr_data / "BSDS500" / "train").glob("*.jpg"))[:20]
    assert known([(p.stem, tensor(Image.open(p))) for p in others], ["Set5", "Set14", "BSD100", "Kodak24"]) == []


def test_pictures_are_not_read_where_nothing_is_known(known: Any) -> None:
    def pictures() -> Any:
        raise AssertionError("looked at")
        yield

    assert known(pictures(), ["folder", "Mine"]) == []


def test_photographs_that_stand_nowhere(photos: Any, known: Any) -> None:
    pictures = [(name, tensor(photos(name))) for name in (*CLEAN, *SETS)]
    assert known(pictures, ["Set5", "Set14", "BSD100", "Kodak24"]) == []
