"""Bicubic resizing against MATLAB's results: its outputs in double, and the published LR files, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sr.degrade.bicubic import Bicubic
from sr.image.read import read_rgb
from sr.image.resize import imresize

CASES = (
    "down_down_aa", "down_down_noaa", "down_down_irregular_aa", "down_down_irregular_noaa",
    "down_down_x2_aa", "down_down_x4_aa", "up_up_irregular_aa",
)  # fmt: skip
BORDER = 3  # LR pixels of a ×8 file that depend on the border mode


@pytest.fixture(scope="module")
def matlab(sr_data: Path) -> Path:
    return sr_data / "reference" / "matlab_imresize"


def to_levels(image: Tensor) -> Tensor:
    """Convert double in 0…1 to uint8 as MATLAB's im2uint8 does."""
    return (image.clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)


def read_pairs(root: Path, name: str, scale: int) -> list[tuple[str, Tensor, Tensor]]:
    """Return (name, HR cropped to a multiple of the scale, the published LR) for each image of one set."""
    pairs = []
    for path in sorted((root / name / "HR").glob("*.png")):
        hr = read_rgb(path)
        h, w = (n - n % scale for n in hr.shape[-2:])
        lr = root / name / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
        pairs.append((path.stem, hr[:, :h, :w], read_rgb(lr)))
    assert pairs
    return pairs


def test_no_case_of_the_reference_is_left_out(matlab: Path) -> None:
    assert {case["name"] for case in json.loads((matlab / "cases.json").read_text())["cases"]} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_double_as_matlab(matlab: Path, name: str) -> None:
    content = json.loads((matlab / "cases.json").read_text())
    case = next(case for case in content["cases"] if case["name"] == name)
    square = torch.tensor(content["input_square"], dtype=torch.float64)
    expected = torch.tensor(case["output"], dtype=torch.float64)
    result = imresize(square, size=tuple(case["size"]), antialias=case["antialiasing"])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_lena_in_uint8_is_rounded_after_each_pass(matlab: Path) -> None:
    lena, expected = read_rgb(matlab / "lena_512x512.png"), read_rgb(matlab / "lena_123x234_uint8.png")
    assert torch.equal(imresize(lena, size=(123, 234)), expected)


def test_lena_in_double_is_rounded_once(matlab: Path) -> None:
    lena, expected = read_rgb(matlab / "lena_512x512.png"), read_rgb(matlab / "lena_123x234_double.png")
    assert torch.equal(to_levels(imresize(lena.double() / 255, size=(123, 234))), expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_published_lr_files_bit_for_bit(sr_data: Path, name: str, scale: int) -> None:
    degrade = Bicubic(scale)
    wrong = [image for image, hr, lr in read_pairs(sr_data, name, scale) if not torch.equal(degrade(hr), lr)]
    assert not wrong


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_x8_files_of_an_older_matlab_need_the_replicated_border(sr_data: Path, name: str) -> None:
    """They are equal bit for bit with `border=replicate`; `mirror` differs near the border and nowhere else."""
    for image, hr, lr in read_pairs(sr_data, name, 8):
        assert torch.equal(Bicubic(8, border="replicate")(hr), lr), image
        mirrored = Bicubic(8)(hr)
        assert not torch.equal(mirrored, lr), image
        inside = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        assert torch.equal(mirrored[inside], lr[inside]), image


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("border", ["mirror", "replicate"])
def test_a_uniform_image_stays_uniform(scale: int, border: str) -> None:
    uniform = torch.full((1, 3, 8 * scale, 9 * scale), 137, dtype=torch.uint8)
    small = imresize(uniform, 1 / scale, border=border)
    assert torch.equal(small, uniform[..., :8, :9])
    assert torch.equal(imresize(small, scale, border=border), uniform)


def test_sizes_are_rounded_up_as_in_matlab() -> None:
    assert imresize(torch.zeros(1, 7, 10), 1 / 3).shape == (1, 3, 4)
    assert imresize(torch.zeros(1, 7, 10), size=(5, 21)).shape == (1, 5, 21)


def test_gradients_pass_through_an_upscaled_image() -> None:
    lr = torch.rand(1, 3, 5, 6, requires_grad=True)
    imresize(lr, 2).sum().backward()
    torch.testing.assert_close(
        lr.grad.sum(), torch.tensor(4.0 * lr.numel())
    )  # every LR pixel contributes to 2 × 2 HR pixels
