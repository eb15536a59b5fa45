"""Images of 16 bits in training and evaluation: no level is lost, no depths are mixed, and results state the depth."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sr.data.cache import Cache
from sr.data.image_set import ImageSet
from sr.data.patches import PatchDraw, Patches
from sr.data.prepare import build_pair
from sr.degrade.bicubic import Bicubic
from sr.degrade.chain import Chain
from sr.degrade.noise import Gaussian
from sr.image.batch import Raw
from sr.image.resize import imresize
from sr.inspection.defects import find_defects, inspect_files
from sr.inspection.known_results import KnownResults
from sr.metric.lr_psnr import LRPSNR
from sr.metric.protocol import Protocol
from sr.record.result import read_set_results
from sr.runtime.error import UserError

SIDE = 48


def draw_levels(seed: int = 0) -> np.ndarray:
    """Return smooth 16-bit levels with noise, which 8 bits cannot hold."""
    noise = np.random.default_rng(seed).integers(0, 3000, (SIDE, SIDE))
    return (np.linspace(5000, 60000, SIDE)[:, None] + noise).astype(np.uint16)


def write_gray(path: Path, levels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three gray PNG files of 16 bits."""
    for k in range(3):
        write_gray(tmp_path / "deep" / f"{k}.png", draw_levels(k))
    return tmp_path / "deep"


@pytest.mark.parametrize("memory", [0, 1e9])
def test_a_set_has_the_levels_of_its_files_and_so_has_its_cache(folder: Path, tmp_path: Path, memory: float) -> None:
    files = sorted(folder.iterdir())
    images = ImageSet(files, 2, None, memory, Cache(tmp_path / "cache", 1e9))
    images.load()
    assert images.is_mapped == (memory == 0)
    assert images.bytes == 3 * 2 * SIDE * SIDE
    for k in range(3):
        assert images[k].hr.dtype == torch.uint16
        assert all(np.array_equal(plane, draw_levels(k)) for plane in images[k].hr.numpy())
    patches = Patches(images, 16)
    draw = PatchDraw(np.array([0, 2, 1]), np.array([[0.2, 0.9], [0, 0], [0.5, 0.1]]), np.array([0, 3, 7], np.uint8))
    cut = patches[draw].hr
    assert np.array_equal(cut[1, 0].numpy(), draw_levels(2)[:16, :16][::-1, ::-1])
    patches.move_to(torch.device("cpu"))  # as onto a GPU
    assert torch.equal(patches[draw].hr, cut)


def test_a_set_of_two_depths_names_the_files_of_the_rarer_one(folder: Path) -> None:
    write_gray(folder / "old.png", np.full((SIDE, SIDE), 7, np.uint8))
    with pytest.raises(
        UserError, match=r"old\.png: 8 bits per channel, but 3 file\(s\) of the set have 16; convert them"
    ):
        ImageSet(sorted(folder.iterdir()), 2)


def test_levels_of_a_12_bit_camera_are_no_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which level is white where it is not 65535: they are refused, not darkened."""
    from sr.image import read
    from sr.image.pillow_file import PillowFile

    build = PillowFile.build_header
    monkeypatch.setattr(PillowFile, "build_header", lambda self: build(self)._replace(white=4095.0))
    with pytest.raises(UserError, match=r"1 band of uint16 in 0…4095, expected gray or RGB of 8 or 16 bits"):
        read.read_levels(write_gray(tmp_path / "a.png", draw_levels()))


def test_lr_is_rounded_to_16_bits_after_each_pass() -> None:
    levels = torch.from_numpy(draw_levels())
    rows = imresize(levels.double(), size=(SIDE // 2, SIDE))  # a square image: MATLAB resizes rows first
    expected = imresize((rows + 0.5).floor().clamp(0, 65535), size=(SIDE // 2, SIDE // 2))
    lr = Bicubic(2)(levels[None])
    assert lr.dtype == torch.uint16
    assert np.array_equal(lr[0].numpy(), (expected + 0.5).floor().clamp(0, 65535).numpy())
    assert len(np.unique(lr.numpy())) > 300  # more than 8 bits have


def test_a_chain_keeps_the_depth() -> None:
    """Noise of 1/100 of an 8-bit level moves 16-bit levels by 257/100, and 8-bit levels not at all."""
    chain = Chain(1, [Gaussian(sigma=(0.01, 0.01), gray_probability=1)])
    hr = torch.full((1, 1, 64, 64), 30000, dtype=torch.int32).to(torch.uint16)
    lr = chain(hr, torch.tensor([1]))
    assert lr.dtype == torch.uint16
    assert lr.double().std().item() == pytest.approx(2.57, abs=0.1)
    assert chain(torch.full((1, 1, 64, 64), 117, dtype=torch.uint8), torch.tensor([1])).unique().tolist() == [117]


def see(levels: Tensor) -> Tensor:
    """Return 16-bit levels as the protocol gets them: float64 in 0…1."""
    return levels.expand(1, 3, -1, -1).double() / 65535


def test_psnr_of_16_bits_has_the_peak_65535() -> None:
    """An error of ten levels everywhere: 20·log10(65535 / 10) = 76.33 dB; 8 bits would see no error."""
    hr = torch.from_numpy(draw_levels()).double()
    values = Protocol("ntire", 2, "rgb", "rgb", depth=16)(see(hr + 10), see(hr))
    assert values["psnr"].item() == pytest.approx(76.3295, abs=1e-4)
    exact = Protocol("ntire", 2, "rgb", "rgb", depth=16)(see(hr + 0.3), see(hr))
    assert exact["psnr"].item() == float("inf")  # the result is rounded to 16 bits
    luma = Protocol("edsr", 2, "rgb", depth=16)(see(hr + 10), see(hr))
    assert luma["psnr"].item() == pytest.approx(76.3295 + 1.3219, abs=1e-3)  # BT.601's 219 of 255 levels


def test_lr_psnr_sees_16_bits() -> None:
    hr = torch.from_numpy(draw_levels())
    pair = build_pair(Raw(hr.expand(1, 3, -1, -1)), False, Bicubic(2), lambda images, is_gray: images)
    images = Protocol("edsr", 2, "rgb", depth=16).prepare(pair.hr, pair.hr, pair.lr)
    assert LRPSNR(Bicubic(2))(images).item() > 100  # LR has rounding errors of 16 bits: 107 dB, of 8 bits 59


def test_a_protocol_states_its_depth() -> None:
    first, second = (Protocol("edsr", 2, "rgb", depth=depth).describe() for depth in (8, 16))
    assert first | {
        "protocol": "edsr-16bit", "rounding": "16 bit", "psnr": "peak 65535, mean of images"
    } == second  # fmt: skip
    assert (first["protocol"], first["rounding"], first["psnr"]) == ("edsr", "8 bit", "peak 255, mean of images")
    with pytest.raises(UserError, match=r"metric\.depth=16: expected 8 or 16 bits, and 8 with metric=vdsr"):
        Protocol("vdsr", 2, "y", "y8", depth=16)


def test_inspect_names_the_files_of_the_rarer_depth(folder: Path) -> None:
    assert not [
        x for x in find_defects(inspect_files(sorted(folder.iterdir()), "", KnownResults(None)), "", 16, "") if x.items
    ]
    write_gray(folder / "old.png", np.full((SIDE, SIDE), 7, np.uint8))
    found = [
        x for x in find_defects(inspect_files(sorted(folder.iterdir()), "", KnownResults(None)), "", 16, "") if x.items
    ]
    assert [(x.kind, x.items) for x in found] == [("depth", [{"file": "old.png", "says": "8 bits per channel"}])]


@pytest.mark.slow
def test_training_needs_the_depth_of_its_held_out_images(folder: Path, sr: Any) -> None:
    options = ("data=folder", f"data.path={folder}", "data.patch=32", "data.batch=2", "track=none", "model/net=plain",
               "trainer.max_steps=1", "trainer.accelerator=cpu")  # fmt: skip
    answer = sr("run", *options)
    assert answer.code == 2
    assert "data.val=folder: expected images of 8 bits per channel" in answer.err
    assert "metric.depth=16 evaluates them" in answer.err
    answer = sr("run", *options, "metric.depth=16")
    assert answer.code == 0, answer.err


def test_bicubic_has_the_psnr_of_16_bits(folder: Path, sr: Any, tmp_path: Path) -> None:
    words = ("scale=2", f"data.test=[{folder}]", "track=none", "metric=ntire", "metric/also=[lr_psnr]")
    answer = sr("evaluate", "model/net=bicubic", "metric.depth=16", *words)
    assert answer.code == 0, answer.err
    (file,) = tmp_path.glob("runs/*/evaluate.json")
    result = read_set_results(file)["deep"]
    levels = torch.from_numpy(draw_levels()).double()
    bicubic = imresize(Bicubic(2)(torch.from_numpy(draw_levels())[None]).double(), 2)[0]
    error = ((bicubic.clamp(0, 65535) + 0.5).floor() - levels)[2:-2, 2:-2]
    expected = 10 * math.log10(65535**2 / error.square().mean().item())
    assert result.per_image["0"]["psnr"] == pytest.approx(expected, abs=1e-6)
    assert result.bicubic["psnr"] == pytest.approx(result.metrics["psnr"], abs=1e-9)
    assert result.protocol["protocol"] == "ntire-16bit"


def test_result_images_have_the_depth_of_the_protocol(folder: Path, sr: Any, tmp_path: Path) -> None:
    words = ("scale=2", f"data.test=[{folder}]", "track=none", "metric/also=[]", "metric.depth=16")
    answer = sr("evaluate", f"images={folder}", *words)
    assert answer.code == 0, answer.err
    assert "∞" in answer.out or "inf" in answer.out
    for k in range(3):
        write_gray(tmp_path / "old" / f"{k}.png", (draw_levels(k) // 257).astype(np.uint8))
    answer = sr("evaluate", f"images={tmp_path / 'old'}", *words)
    assert answer.code == 2
    assert "0.png: expected 16 bits per channel, the depth of the protocol (found 8)" in answer.err
