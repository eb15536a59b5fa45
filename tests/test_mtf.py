"""`data/degrade=mtf`: the transfer that it states, at Nyquist and below; no shift, no change of the mean."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from sr.degrade.mtf import MTF, SENSORS, compute_sigma
from sr.runtime.error import UserError

SIDE = 40  # LR pixels


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("transfer", [0.15, 0.26, 0.34])
def test_transfer_is_that_of_the_sensor(scale: int, transfer: float) -> None:
    """A wave of f periods per LR pixel keeps exp(-2π²σ²f²) of its amplitude, at Nyquist `mtf`, and its phase."""
    degrade = MTF(scale, transfer)
    position = (torch.arange(scale * SIDE, dtype=torch.float64) - (scale - 1) / 2) / scale  # in LR pixels
    for periods in (0.5, 0.25, 0.1):
        wave = torch.cos(2 * math.pi * periods * position)
        lr = degrade(wave.expand(1, 1, scale * 4, -1))[0, 0, 2]
        expected = transfer ** (4 * periods**2) * torch.cos(2 * math.pi * periods * torch.arange(SIDE))
        assert (lr - expected)[8:-8].abs().max() < 1e-3
        along_columns = degrade(wave[:, None].expand(1, 1, -1, scale * 4))[0, 0, :, 2]
        assert torch.allclose(along_columns, lr, atol=1e-12)


def test_scipy_gives_the_same() -> None:
    """SciPy's Gaussian samples at HR pixels: equal where LR pixels have one in their middle, at ×3."""
    hr = torch.rand(1, 1, 60, 66, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blurred = gaussian_filter(hr[0, 0].numpy(), compute_sigma(0.26, 3), mode="reflect", truncate=6)
    assert (MTF(3, 0.26)(hr)[0, 0] - torch.from_numpy(blurred)[1::3, 1::3]).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float64])
def test_levels_stay_levels(dtype: torch.dtype) -> None:
    flat = torch.full((2, 4, 8, 12), 77, dtype=dtype)
    lr = MTF(2, "sentinel2_10m")(flat)
    assert lr.dtype == dtype and lr.shape == (2, 4, 4, 6)
    assert (lr.double() - 77).abs().max() < (1e-9 if dtype.is_floating_point else 0.5)
    extreme = torch.tensor([0, 1]).repeat(8).to(torch.float64) * torch.iinfo(torch.uint16).max
    assert MTF(2)(extreme.to(torch.uint16).expand(1, 1, 16, 16)).dtype == torch.uint16


def test_each_band_has_its_own_blur() -> None:
    hr = torch.rand(1, 4, 32, 32, dtype=torch.float64)
    whole = MTF(2, "ikonos")(hr)
    for k, value in enumerate(SENSORS["ikonos"]):
        assert torch.allclose(whole[:, k : k + 1], MTF(2, value)(hr[:, k : k + 1]), atol=1e-14)


def test_an_image_smaller_than_the_kernel() -> None:
    assert MTF(8, 0.15)(torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)).item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("mtf", "message"), [("sentinel", "sentinel2_10m"), ([0.2, 0.3], "each of the 4 bands"), (1.0, "between 0 and 1")]
)
def test_wrong_values_are_named(mtf: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MTF(2, mtf)(torch.rand(1, 4, 16, 16))
