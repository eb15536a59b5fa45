"""Pixels without data in training sets: no patch has any, whatever the shape of the hole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr.data.file_errors import FileError
from sr.data.image_part import ImagePart
from sr.data.image_set import ImageSet
from sr.data.patches import MASK_MARGIN, Patches, PatchSampler
from sr.data.prepare import build_pair
from sr.data.valid_corners import ValidCorners
from sr.image.bands import show_bands
from sr.image.batch import EvaluationOutput
from sr.image.file_format import Header
from sr.metric.panel import draw_panel
from sr.metric.protocol import Protocol

BAD = 60_000  # the level of pixels without data


class Holed(ImagePart):
    """A scene of four bands, 80×96, whose valid pixels have levels below 1,000, with a hole."""

    path, name, group = Path("scene.tif"), "scene", ""
    key = "holed"

    def __init__(self, hole: tuple[slice, slice]) -> None:
        self.hole = hole

    def probe(self) -> Header:
        return Header(80, 96, "color", channels=4, dtype=torch.uint16, white=65535.0, has_mask=True)

    def read(self) -> Tensor:
        levels = np.random.default_rng(0).integers(0, 1000, (5, 80, 96), dtype=np.uint16)
        levels[4] = 65535
        levels[:4, *self.hole], levels[4, *self.hole] = BAD, 0
        return torch.from_numpy(levels)


def test_no_patch_has_pixels_without_data() -> None:
    patches = Patches(ImageSet([Holed((slice(30, 40), slice(0, 50)))], 2), 24)
    patches.find_valid_corners()
    for draw in PatchSampler(1, 8, 200, 0):
        raw = patches[draw]
        assert raw.hr.shape == (8, 4, 24, 24)
        assert raw.hr.float().max() < 1000
        assert raw.valid is None


def test_an_image_without_room_for_a_patch_is_named() -> None:
    patches = Patches(ImageSet([Holed((slice(38, 42), slice(0, 96)))], 2), 40)
    with pytest.raises(FileError, match=r"scene\.tif: data\.patch=40"):
        patches.find_valid_corners()


@pytest.mark.parametrize("margin", [0, 6])
def test_corners_are_those_of_a_search(margin: int) -> None:
    """All and only the squares whose pixels, and those around them, are valid; each is drawn equally often."""
    valid = np.random.default_rng(1).random((40, 52)) > 0.004
    corners = ValidCorners(valid, 10, 2, margin)
    expected = {
        (y // 2, x // 2)
        for y in range(0, 31, 2)
        for x in range(0, 43, 2)
        if valid[max(0, y - margin) : y + 10 + margin, max(0, x - margin) : x + 10 + margin].all()
    }
    assert len(corners) == len(expected) > 10
    grid = np.stack(np.meshgrid(*[np.linspace(0, 0.9999, 300)] * 2), axis=-1).reshape(-1, 2)
    assert {corners.find(place) for place in grid} == expected


def test_the_margin_is_wider_than_the_reach_of_the_degradations() -> None:
    """LR of a patch that is so far from a hole does not depend on it."""
    from sr.degrade.bicubic import Bicubic
    from sr.degrade.mtf import MTF

    for scale in (2, 3, 4):
        hr = torch.rand(1, 1, 40 * scale, 40 * scale, dtype=torch.float64)
        changed = hr.clone()
        changed[..., : 10 * scale] = 9
        for degrade in (Bicubic(scale), MTF(scale, 0.26)):
            moved = (degrade(hr) - degrade(changed)).abs()[..., 10 + MASK_MARGIN :]
            assert moved.max() < 1e-3


def test_hr_is_nan_where_there_is_no_data() -> None:
    images = ImageSet([Holed((slice(30, 40), slice(0, 50)))], 2)
    pair = build_pair(images[[0]], False, lambda hr: hr[..., ::2, ::2], lambda x, gray: x)
    missing = pair.hr.isnan()
    assert missing.sum() == 4 * 10 * 50 and missing[..., 30:40, :50].all()
    assert pair.lr.isfinite().all() and pair.hr.dtype == torch.float64
    protocol = Protocol("edsr", 2, "bands", depth=16)
    filled = pair.hr.nan_to_num(0.5)
    assert protocol(filled, pair.hr)["psnr"].item() == float("inf")
    panel = draw_panel(EvaluationOutput(pair.lr, filled, pair.hr), protocol, "a title")
    assert panel.mode == "RGB"


def test_bands_on_a_screen() -> None:
    """The third, second and first band are red, green and blue, each in the contrast of the scene."""
    scene = torch.linspace(0.1, 0.2, 100).view(1, 1, 10, 10) * torch.tensor([1.0, 2.0, 4.0, 3.0]).view(1, 4, 1, 1)
    scene[0, 0, 0, 0] = torch.nan
    (shown,) = show_bands([scene], scene)
    assert shown.shape == (1, 3, 10, 10) and shown.isfinite().all()
    assert [shown[0, k].max().item() for k in range(3)] == [1, 1, 1]
    assert shown[0, :, 5, 5].tolist() == pytest.approx([shown[0, 0, 5, 5].item()] * 3, abs=0.02)
    assert show_bands([scene[:, :1]], scene[:, :2])[0].shape == (1, 1, 10, 10)
