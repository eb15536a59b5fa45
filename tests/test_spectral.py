"""SAM, ERGAS and pixels without data: torchmetrics and literal numbers as judges, and an image with a hole in it."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis as ergas_of_torchmetrics
from torchmetrics.functional.image import spectral_angle_mapper

from sr.image.batch import MetricInput
from sr.metric.ergas import ERGAS, ergas
from sr.metric.ms_ssim import MSSSIM
from sr.metric.protocol import Protocol
from sr.metric.sam import SAM, measure_spectral_angles
from sr.metric.ssim import ssim
from sr.runtime.error import UserError


def create_images(bands: int = 4, side: int = 48) -> tuple[Tensor, Tensor]:
    """Return a result and HR in 0…1, `[2, bands, side, side]`: waves, and the same with others added."""
    k, y, x = torch.meshgrid(torch.arange(2 * bands), *[torch.arange(side)] * 2, indexing="ij")
    hr = 0.5 + 0.3 * torch.sin(0.13 * x + 0.7 * k) * torch.cos(0.11 * y)
    sr = hr + 0.02 * torch.sin(0.9 * x * (k % 3) + 0.5 * y)
    return sr.double().view(2, bands, side, side), hr.double().view(2, bands, side, side)


def test_values_are_those_of_torchmetrics() -> None:
    """As torchmetrics gives them today; and the numbers that its version 1.9.0 gave for these images."""
    sr, hr = create_images()
    angle = torch.rad2deg(spectral_angle_mapper(sr, hr, reduction="none")).mean(dim=(1, 2))
    assert measure_spectral_angles(sr, hr).mean(dim=(1, 2)).tolist() == pytest.approx(angle.tolist(), rel=1e-6)
    error = torch.stack([ergas_of_torchmetrics(*(i[None] for i in pair), ratio=3) for pair in zip(sr, hr, strict=True)])
    assert ergas(sr, hr, 3).tolist() == pytest.approx(error.tolist(), rel=1e-9)
    assert angle.tolist() == pytest.approx([1.2075, 1.1977], abs=1e-4)
    assert error.tolist() == pytest.approx([0.9419, 0.9429], abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "degrees"),
    [((1, 0), (0, 1), 90), ((1, 1), (1, 0), 45), ((2, 2), (5, 5), 0), ((1, 1), (-1, -1), 180), ((1, math.sqrt(3)), (1, 0), 60)],
)  # fmt: skip
def test_angles_of_geometry(first: tuple[float, ...], second: tuple[float, ...], degrees: float) -> None:
    pixels = (torch.tensor(spectrum, dtype=torch.float64).view(1, 2, 1, 1) for spectrum in (first, second))
    assert measure_spectral_angles(*pixels).item() == pytest.approx(degrees, abs=1e-12)


def test_a_tiny_angle_has_all_its_digits() -> None:
    """The arc cosine of 1 - 5e-19, which is 1 in float64, would give 0."""
    pixels = (torch.tensor([1.0, height], dtype=torch.float64).view(1, 2, 1, 1) for height in (0.0, 1e-9))
    assert measure_spectral_angles(*pixels).item() == pytest.approx(math.degrees(1e-9), rel=1e-9)


def test_ergas_by_hand() -> None:
    """Two bands of mean 10 and 20, each off by 1: 100 / 4 · sqrt((0.01 + 0.0025) / 2)."""
    hr = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    assert ergas(hr + 1, hr, 4).item() == pytest.approx(25 * math.sqrt(0.00625), rel=1e-6)
    assert ergas(hr, 0 * hr, 4).isnan().all()


def test_values_are_those_of_the_file() -> None:
    """With a range that does not begin at 0, metrics are of the values that the file has, not of 0…1."""
    sr, hr = create_images()
    black, white = 100.0, 500.0
    images = MetricInput(sr * 255, hr * 255, sr, hr, hr)
    values = [black + image * (white - black) for image in (sr, hr)]
    assert SAM((black, white))(images).tolist() == pytest.approx(
        measure_spectral_angles(*values).mean(dim=(1, 2)).tolist(), rel=1e-9
    )
    assert ERGAS(2, (black, white))(images).tolist() == pytest.approx(ergas(*values, 2).tolist(), rel=1e-9)


def test_pixels_without_data_are_left_out() -> None:
    """All metrics are those of the image whose hole is filled with anything, within what is `scale` away from the hole."""
    sr, hr = create_images()
    names = {"sam": SAM(), "ergas": ERGAS(2), "ms_ssim": MSSSIM()}
    protocol = Protocol("edsr", 2, "bands", also=names, depth=16)
    whole = protocol(sr, hr, hr)
    with_hole = hr.clone()
    with_hole[0, 1, 20:30, 25:40] = torch.nan  # one band is enough
    results = []
    for junk in (0.0, 1.0):
        spoiled = sr.clone()
        spoiled[0, :, 18:32, 23:42] = junk  # the hole, and the border of 2 pixels around it
        results.append(protocol(spoiled, with_hole, hr))
    for name in ("psnr", "ssim", "sam", "ergas"):
        assert torch.equal(results[0][name], results[1][name])
        assert results[0][name].isfinite().all()
        assert results[0][name][1].item() == pytest.approx(whole[name][1].item(), rel=1e-12)
    assert results[0]["ms_ssim"][0].isnan()  # it cannot leave pixels out
    assert results[0]["psnr"][0].item() != whole["psnr"][0].item()


def test_psnr_of_what_is_left() -> None:
    """A difference of 0.1 everywhere is 20 dB, with any hole."""
    hr = torch.full((1, 3, 40, 40), 0.5, dtype=torch.float64)
    hr[..., :13, :7] = torch.nan
    assert Protocol("ntire", 2, "bands", "rgb", depth=16)(hr.nan_to_num(9) + 0.1, hr)["psnr"].item() == pytest.approx(
        20, abs=1e-3
    )


def test_a_mask_that_hides_nothing_changes_nothing() -> None:
    sr, hr = (image * 255 for image in create_images(3, 53))
    valid = torch.ones(2, 1, 53, 53, dtype=torch.bool)
    assert ssim(sr, hr, valid).tolist() == pytest.approx(ssim(sr, hr).tolist(), rel=1e-12)


def test_the_protocol_says_bands_and_range() -> None:
    described = Protocol("edsr", 2, "bands", depth=16, range=[100, 5100]).describe()
    assert described["protocol"] == "edsr-16bit-bands"
    assert (described["channel"], described["range"]) == ("bands", "100…5100")
    assert described["psnr"] == "peak 5000, mean of images"
    plain = Protocol("edsr", 2, "rgb", depth=16).describe()
    assert "range" not in plain and "no data" not in plain  # the digests of earlier runs stay what they are
    with pytest.raises(UserError, match=r"metric\.depth=16"):
        Protocol("edsr", 2, "bands", range=[0, 10])


def test_three_bands_are_no_rgb() -> None:
    """No luma is made of three bands of a satellite."""
    sr, hr = create_images(3)
    bands, rgb = (Protocol("edsr", 2, color, channel, depth=16)(sr, hr)["psnr"].tolist()
                  for color, channel in (("bands", "y"), ("rgb", "rgb")))  # fmt: skip
    assert bands == rgb
