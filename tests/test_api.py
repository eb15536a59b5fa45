"""The Python API: `sr.load`, `sr.upscale`, `sr.score`."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image
from test_predict import open_image, save_checkpoint

import sr as api
from sr.checkpoint.load import LoadedNet
from sr.net.plain import Plain
from sr.record.result import read_set_results
from sr.runtime.error import UserError

KINDS = {
    "NumPy uint8": np.array,
    "NumPy float32": lambda image: np.array(image, dtype=np.float32) / 255,
    "NumPy float64": lambda image: np.array(image, dtype=np.float64) / 255,
    "Pillow": lambda image: image,
    "torch uint8": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1),
    "torch float32": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255,
    "torch batch": lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].repeat(2, 1, 1, 1),
}  # fmt: skip


def run_python(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, check=True)


@pytest.fixture
def photo(tmp_path: Path) -> Image.Image:
    return open_image(write_image(tmp_path / "photo.png", 20, 27))


@pytest.fixture
def model(tmp_path: Path) -> LoadedNet:
    return api.load(save_checkpoint(tmp_path / "best.ckpt"), device="cpu")


def to_uint8(image: Any) -> np.ndarray:
    """Any kind of image as uint8 `[H, W, C]`; of a batch the first."""
    if isinstance(image, torch.Tensor):
        image = (image if image.ndim == 3 else image[0]).permute(1, 2, 0).numpy()
    array = np.array(image)
    return array if array.dtype == np.uint8 else np.floor(array * 255 + 0.5).astype(np.uint8)


# import


def test_importing_sr_imports_nothing_but_sr() -> None:
    """It has no side effects: no other package, no import hook."""
    program = """
import importlib, sys, typing
modules, hooks = set(sys.modules), list(sys.meta_path)
import sr
print(sorted(set(sys.modules) - modules), sys.meta_path == hooks)
"""
    assert run_python(program).stdout.split("\n")[0] == "['sr'] True"


def test_score_does_not_import_lightning() -> None:
    program = """
import sys, numpy, sr
image = numpy.zeros((32, 32, 3), dtype=numpy.uint8)
assert sr.score(image, image, scale=2)["ssim"] == 1
print({"pytorch_lightning", "hydra", "mlflow", "torchmetrics"} & set(sys.modules))
"""
    assert run_python(program).stdout.strip() == "set()"


def test_names_are_listed_and_commands_stay_modules() -> None:
    assert {"load", "upscale", "score", "__version__"} <= set(dir(api))
    assert api.__version__ == importlib.metadata.version("sr")
    assert callable(importlib.import_module("sr.predict").main)
    with pytest.raises(AttributeError, match="no attribute 'upsample'"):
        _ = api.upsample


# load


@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("y", 1), ("gray", 1)])
def test_load_says_what_the_file_says(tmp_path: Path, color: str, channels: int) -> None:
    model = api.load(str(save_checkpoint(tmp_path / "best.ckpt", color=color, scale=3)), device="cpu")
    assert (model.scale, model.color, model.channels, model.step) == (3, color, channels, 7)
    assert model.metrics == {"val/Set5/psnr": 33.7}
    assert model.config["model"]["net"]["width"] == 4
    assert isinstance(model.net, Plain)
    assert model.device == torch.device("cpu")
    assert not model.net.training


def test_load_takes_a_runs_folder_and_a_device(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.ckpt")
    assert api.load(tmp_path, torch.device("cpu")).scale == 2
    assert api.load(tmp_path).scale == 2


def test_load_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.ckpt: .*no such file"):
        api.load(tmp_path / "no.ckpt")


# upscale


@pytest.mark.parametrize("kind", KINDS)
def test_upscale_returns_the_kind_of_image_it_was_given(kind: str, model: LoadedNet, photo: Image.Image) -> None:
    image = KINDS[kind](photo)
    result = api.upscale(model, image)
    assert type(result) is (Image.Image if kind == "Pillow" else type(image))
    if kind != "Pillow":
        assert result.dtype == image.dtype
        assert len(result.shape) == len(image.shape)
    assert np.array_equal(to_uint8(result), to_uint8(api.upscale(model, photo)))


@pytest.mark.parametrize("color", ["rgb", "y", "gray"])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P"])
def test_upscale_equals_sr_predict(tmp_path: Path, sr: Any, color: str, mode: str) -> None:
    checkpoint, source = save_checkpoint(tmp_path / "best.ckpt", color=color), tmp_path / "a.png"
    image = (
        open_image(write_image(tmp_path / "base.png", 20, 27))
        .convert("L" if mode in ("L", "LA") else "RGB")
        .convert(mode)
    )
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(source, icc_profile=b"a profile")
    assert sr("predict", f"checkpoint={checkpoint}", f"input={source}", "output=out", "device=cpu").code == 0
    expected = open_image(tmp_path / "out" / "a_x2.png")
    result = api.upscale(api.load(checkpoint, device="cpu"), open_image(source))
    assert (result.mode, result.size) == (expected.mode, expected.size)
    assert np.array_equal(np.array(result), np.array(expected))
    assert result.info.get("icc_profile") == expected.info.get("icc_profile")


@pytest.mark.parametrize("options", [{"ensemble": True}, {"tile": 8}, {"ensemble": True, "tile": 8}])
def test_upscale_takes_the_options_of_sr_predict(
    tmp_path: Path, sr: Any, model: LoadedNet, photo: Image.Image, options: dict[str, Any]
) -> None:
    words = [f"{key}={value}".lower() for key, value in options.items()]
    files = (f"checkpoint={tmp_path}/best.ckpt", f"input={tmp_path}/photo.png", "output=out", "device=cpu")
    assert sr("predict", *files, *words).code == 0
    assert np.array_equal(
        np.array(api.upscale(model, photo, **options)), np.array(open_image(tmp_path / "out/photo_x2.png"))
    )


def test_upscale_turns_a_photo_upright(tmp_path: Path, model: LoadedNet, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    result = api.upscale(model, open_image(tmp_path / "turned.png"))
    assert result.size == (40, 54)
    assert result.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("color", ["rgb", "y", "gray"])
def test_gray_arrays_stay_gray(tmp_path: Path, color: str, photo: Image.Image) -> None:
    model = api.load(save_checkpoint(tmp_path / "best.ckpt", color=color), device="cpu")
    gray = np.array(photo.convert("L"))
    expected = np.array(api.upscale(model, photo.convert("L")))
    assert np.array_equal(api.upscale(model, gray), expected)
    assert np.array_equal(api.upscale(model, gray[:, :, None]), expected[:, :, None])
    assert torch.equal(api.upscale(model, torch.from_numpy(gray)[None]), torch.from_numpy(expected)[None])
    result = api.upscale(model, gray.astype(np.float32) / 255)
    assert result.shape == expected.shape
    assert np.abs(result * 255 - expected).max() <= 1


def test_floats_are_clamped_and_not_rounded(model: LoadedNet) -> None:
    image = np.full((8, 8, 3), 0.999)
    image[0] = 0.3
    result = api.upscale(model, image)
    assert result.max() == 1
    assert not np.array_equal(result, np.floor(result * 255 + 0.5) / 255)


def test_the_input_is_not_changed_and_the_result_can_be_trained_on(model: LoadedNet) -> None:
    image = torch.rand(3, 9, 11, requires_grad=True)
    before = image.detach().clone()
    result = api.upscale(model, image)
    assert torch.equal(image, before)
    assert not result.requires_grad
    (result * torch.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((8, 8, 4), np.uint8), "image: expected [H, W] or [H, W, 3] (found shape [8, 8, 4])"),
        (np.zeros((3, 8, 8), np.uint8), "image: expected [H, W] or [H, W, 3] (found shape [3, 8, 8])"),
        (np.zeros((2, 8, 8, 3), np.uint8), "image: expected a NumPy array [H, W] or [H, W, C]"),
        (np.zeros((0, 8, 3), np.uint8), "found shape [0, 8, 3]"),
        (np.zeros((8, 8), np.int64), "image: expected uint8, or float in 0…1 (found int64)"),
        (np.full((8, 8), 200.0), "image: expected floats in 0…1 (found 200); divide by 255, or use uint8"),
        (np.full((8, 8), np.nan), "image: expected numbers in 0…1 (found NaN or infinity)"),
        (torch.zeros(8, 8), "image: expected a tensor [C, H, W] or [B, C, H, W] (found shape [8, 8])"),
        (torch.zeros(8, 8, 3), "image: expected [C, H, W] with 1 or 3 channels (found shape [8, 8, 3])"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "found torch.int32"),
        (Image.new("CMYK", (8, 8)), "image: expected 8-bit gray or RGB (found mode CMYK)"),
        (Image.new("I;16", (8, 8)), "found mode I;16"),
        ("photo.png", "image: expected a NumPy array, a Pillow image or a tensor (found str)"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, reason: str, model: LoadedNet) -> None:
    with pytest.raises(UserError, match=f"^.*{re.escape(reason)}"):
        api.upscale(model, image)


def test_weights_that_give_nan_are_reported(model: LoadedNet, photo: Image.Image) -> None:
    torch.nn.init.constant_(model.net.body[-2].bias, float("nan"))
    with pytest.raises(UserError, match=r"^image: the net's output is NaN or infinite; its weights are damaged"):
        api.upscale(model, photo)


# score


@pytest.mark.parametrize("protocol", ["edsr", "vdsr", "ntire"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_score_equals_sr_evaluate(tmp_path: Path, sr: Callable, protocol: str, mode: str) -> None:
    for k in range(3):
        hr = open_image(write_image(tmp_path / "Set5" / "HR" / f"{k}.png", 48, 56, seed=k, mode=mode))
        (tmp_path / "out").mkdir(exist_ok=True)
        hr.resize((28, 24)).resize((56, 48)).save(tmp_path / "out" / f"{k}.png")
    answer = sr(
        "evaluate", "images=out", "scale=2", "data.test=[Set5]", f"metric={protocol}", f"paths.data={tmp_path}",
        "track=none", "device=cpu",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    (report,) = (tmp_path / "runs").rglob("evaluate.json")
    (result,) = read_set_results(report).values()
    measured = result.per_image
    assert len(measured) == 3
    for name, expected in measured.items():
        image, reference = (open_image(tmp_path / folder / f"{name}.png") for folder in ("out", "Set5/HR"))
        for kind in (lambda x: x, np.array, lambda x: np.array(x) / 255):
            result = api.score(kind(image), kind(reference), scale=2, protocol=protocol)
            assert result == pytest.approx({key: expected[key] for key in ("psnr", "ssim")}, abs=1e-9)


def test_score_of_a_batch_is_the_mean_of_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    sr, hr = torch.rand(2, 3, 3, 24, 24, generator=generator)
    single = [api.score(a, b, scale=3) for a, b in zip(sr, hr, strict=True)]
    for name, value in api.score(sr, hr, scale=3).items():
        assert value == pytest.approx(sum(one[name] for one in single) / 3)


def test_score_of_equal_images() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    assert api.score(image, image, scale=2) == {"psnr": float("inf"), "ssim": 1.0}


@pytest.mark.parametrize(
    ("shapes", "options", "reason"),
    [
        (
            ((24, 24), (24, 25)),
            {},
            "expected one size (found 24×24 and 25×24 pixels); crop the reference to a multiple",
        ),
        (((24, 24), (48, 48)), {}, "image and reference: expected one size (found 24×24 and 48×48 pixels)$"),
        (((12, 12), (12, 12)), {}, "SSIM needs at least 11×11 pixels"),
        (((2, 2), (2, 2)), {}, "SSIM needs at least 11×11 pixels"),
        (
            ((24, 24), (24, 24)),
            {"protocol": "esdr"},
            'protocol=esdr: expected one of edsr, vdsr, ntire. Did you mean "edsr"?',
        ),
        (((24, 24), (24, 24)), {"scale": 0}, "scale=0: expected a whole number, 1 or more"),
        (((24, 24), (24, 24, 3)), {"protocol": "vdsr"}, "protocol=vdsr: expected two gray or two RGB images"),
    ],
)
def test_score_names_what_does_not_fit(shapes: Any, options: dict[str, Any], reason: str) -> None:
    image, reference = (np.zeros(shape, np.uint8) for shape in shapes)
    pattern = re.escape(reason).replace(r"pixels\)\$", r"pixels\)$")
    with pytest.raises(UserError, match=pattern):
        api.score(image, reference, **{"scale": 2, **options})
