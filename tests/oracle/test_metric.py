"""PSNR and SSIM against the field's numbers (protocol `edsr`) and against what can be worked out by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sr.degrade.resize import imresize
from sr.error import UserError
from sr.image.read import read_rgb
from sr.metric.protocol import Protocol
from sr.metric.score import Score

# design/protocols.md: bicubic by protocol edsr, PSNR in dB and SSIM.
BICUBIC = {
    ("Set5", 2): (33.673, 0.9303),
    ("Set5", 3): (30.403, 0.8689),
    ("Set5", 4): (28.429, 0.8111),
    ("Set14", 2): (30.325, 0.8699),
    ("Set14", 3): (27.631, 0.7759),
    ("Set14", 4): (26.088, 0.7048),
}


@pytest.mark.parametrize(("name", "scale"), BICUBIC)
def test_bicubic_row_of_the_tables(sr_data: Path, name: str, scale: int) -> None:
    """LR and result are 8-bit pictures, as MATLAB's imresize gives them: rounded after each pass."""
    score = Score(Protocol("edsr", scale, "rgb"))
    for path in sorted((sr_data / name / "HR").glob("*.png")):
        hr = read_rgb(path)[None]
        h, w = (n - n % scale for n in hr.shape[-2:])
        hr = hr[..., :h, :w]
        score.update(imresize(imresize(hr, 1 / scale), scale) / 255, hr / 255)
    result = score.compute()
    assert (round(result["psnr"], 3), round(result["ssim"], 4)) == BICUBIC[name, scale]


def picture(seed: int = 0, channels: int = 3) -> Tensor:
    """Whole 8-bit levels from 30 to 200, as float 0…1."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(30, 201, (1, channels, 40, 44), generator=chance) / 255


def measured(sr: Tensor, hr: Tensor, channel: str = "rgb", scale: int = 2) -> dict[str, Tensor]:
    return Protocol("edsr", scale, "rgb", channel)(sr, hr)


def test_one_level_of_error_is_48_1308_db() -> None:
    assert measured(picture() + 1 / 255, picture())["psnr"].item() == pytest.approx(48.1308, abs=5e-5)


def test_one_level_of_gray_error_in_luma_is_219_255_of_it() -> None:
    """BT.601's luma spans 219 of 255 levels: 1.322 dB more."""
    expected = 48.1308 + 20 * math.log10(255 / 219)
    assert measured(picture() + 1 / 255, picture(), "y")["psnr"].item() == pytest.approx(expected, abs=1e-4)


def test_identical_pictures_are_infinite_and_not_hidden_in_the_mean() -> None:
    score = Score(Protocol("edsr", 2, "rgb"))
    score.update(picture(), picture())
    score.update(picture() + 1 / 255, picture())
    assert score.per_image()["psnr"][0] == math.inf
    assert score.per_image()["ssim"][0] == 1
    assert score.compute()["psnr"] == math.inf


@pytest.mark.parametrize("together", [True, False])
def test_mean_of_images_not_pooled_error(together: bool) -> None:
    """Images of 20 and 40 dB are 30.00 dB together; a pooled error would say 22.97."""
    hr = torch.full((2, 3, 40, 40), 0.4)
    sr = torch.stack([hr[0] + 25.5 / 255, hr[1] + 2.55 / 255])
    score = Score(Exact(2))
    for part in (slice(0, 2),) if together else (slice(0, 1), slice(1, 2)):
        score.update(sr[part], hr[part])
    assert score.per_image()["psnr"] == pytest.approx([20, 40], abs=1e-4)
    assert score.compute()["psnr"] == pytest.approx(30, abs=1e-4)


class Exact(Protocol):
    """Without rounding, so that 20 and 40 dB can be had exactly."""

    def __init__(self, scale: int) -> None:
        super().__init__("exact", scale, "rgb", "rgb")

    def _prepared(self, image: Tensor) -> Tensor:
        return image.double() * 255


def test_the_result_is_rounded_and_clipped_to_8_bits_first() -> None:
    hr = picture()
    assert measured(hr + 0.4 / 255, hr)["psnr"].item() == math.inf
    white = torch.ones_like(hr)
    assert measured(white * 1.7, white)["psnr"].item() == math.inf


def test_the_border_of_scale_pixels_does_not_count() -> None:
    hr, sr = picture(), picture()
    sr[..., :3, :] = sr[..., -3:, :] = sr[..., :, :3] = sr[..., :, -3:] = 1
    assert measured(sr, hr, scale=3)["psnr"].item() == math.inf
    assert measured(sr, hr, scale=2)["psnr"].item() < 40


def test_luma_does_not_see_an_error_that_rgb_sees() -> None:
    """Up in red, down in green by what BT.601 weighs them: the luma stays nearly the same."""
    hr = picture()
    sr = hr + torch.tensor([51, -26, 0]).view(1, 3, 1, 1) / 255
    assert measured(sr, hr, "y")["psnr"] > 60 > 25 > measured(sr, hr, "rgb")["psnr"]


def test_gray_pictures_are_measured_as_they_are() -> None:
    gray = picture(channels=1)
    assert measured(gray + 1 / 255, gray, "y")["psnr"].item() == pytest.approx(48.1308, abs=5e-5)


def test_ssim_agrees_with_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    sr, hr = picture(1, 1), picture(2, 1)
    sr = 0.7 * hr + 0.3 * sr
    x, y = ((image[0, 0, 2:-2, 2:-2] * 255 + 0.5).floor().double().numpy() for image in (sr, hr))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, index = structural_similarity(x, y, full=True, **settings)
    assert measured(sr, hr)["ssim"].item() == pytest.approx(index[5:-5, 5:-5].mean(), abs=1e-6)


def test_each_image_of_a_batch_is_measured_alone() -> None:
    hr, sr = torch.cat([picture(1), picture(2)]), torch.cat([picture(3), picture(4)])
    both = measured(sr, hr, "y")
    for k in range(2):
        alone = measured(sr[k : k + 1], hr[k : k + 1], "y")
        assert both["psnr"][k].item() == pytest.approx(alone["psnr"].item())
        assert both["ssim"][k].item() == pytest.approx(alone["ssim"].item())


def test_sizes_that_differ_are_an_error_that_asks_for_the_scale() -> None:
    with pytest.raises(UserError, match=r"differ in size: is scale=2 right\?"):
        measured(picture()[..., 1:], picture())


def test_the_name_of_the_protocol_tells_colour_modes_apart() -> None:
    names = {Protocol("edsr", 2, color).describe()["protocol"] for color in ("rgb", "y", "gray")}
    assert names == {"edsr", "edsr-y", "edsr-gray"}
