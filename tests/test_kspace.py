"""`data/degrade=kspace`: exact properties of cutting k-space, and the numbers of scipy.signal.resample and numpy.fft."""

import numpy as np
import pytest
import torch
from scipy.signal import resample

from sr.degrade.bicubic import Bicubic
from sr.degrade.kspace import KSpace
from sr.image.kspace import resize_kspace
from sr.image.resize import imresize
from sr.net.zero_filled import ZeroFilled
from sr.runtime.error import UserError

SIZES = [((24, 36), 2), ((27, 33), 3), ((24, 48), 3), ((64, 40), 4), ((26, 34), 2)]


def make_noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def smooth(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Remove all frequencies that the LR grid does not have, by numpy's Fourier transform."""
    spectrum = np.fft.fft2(image.numpy())
    rows, columns = (np.abs(np.fft.fftfreq(n)) * n for n in image.shape[-2:])
    h, w = (n / scale / 2 for n in image.shape[-2:])
    kept = (rows[:, None] < h) & (columns < w)
    return torch.from_numpy(np.fft.ifft2(spectrum * kept).real)


@pytest.mark.parametrize(("size", "scale"), SIZES)
def test_the_mean_stays_and_energy_is_that_of_the_center_of_k_space(size: tuple[int, int], scale: int) -> None:
    hr = smooth(make_noise(2, 3, *size), scale) + 0.2
    lr = resize_kspace(hr, tuple(n // scale for n in size))
    assert torch.allclose(lr.mean(dim=(-2, -1)), hr.mean(dim=(-2, -1)), atol=1e-13)
    assert torch.allclose(lr.square().mean(dim=(-2, -1)), hr.square().mean(dim=(-2, -1)), atol=1e-13)  # Parseval
    assert torch.allclose(resize_kspace(lr, size), hr, atol=1e-12)


@pytest.mark.parametrize("window", ["none", "hann", "hamming"])
def test_a_constant_stays_to_the_last_bit(window: str) -> None:
    for value in (0, 1, 12_345, 65_535):
        hr = torch.full((1, 1, 36, 50), value, dtype=torch.uint16)
        lr = KSpace(2, window)(hr)
        assert lr.dtype == torch.uint16
        assert lr.shape == (1, 1, 18, 25)
        assert (lr == value).all()


@pytest.mark.parametrize("size", [27, 24, 54])
def test_it_is_the_fourier_resampling_of_scipy_at_the_centers_of_lr_pixels(size: int) -> None:
    line = make_noise(size)
    ours = resize_kspace(line.expand(9, -1)[None], (3, size // 3))[0, 0]
    assert np.abs(ours.numpy() - resample(np.roll(line.numpy(), -1), size // 3)).max() < 1e-12


def test_it_is_the_center_of_numpys_k_space() -> None:
    hr = make_noise(30, 42)
    lr = resize_kspace(hr, (15, 21))
    spectrum, cut = np.fft.fftshift(np.fft.fft2(hr.numpy())), np.fft.fftshift(np.fft.fft2(lr.numpy()))
    center = spectrum[30 // 2 - 7 : 30 // 2 + 8, 42 // 2 - 10 : 42 // 2 + 11]
    assert np.abs(np.abs(cut) * 4 - np.abs(center)).max() < 1e-10


@pytest.mark.parametrize(("size", "scale"), SIZES)
def test_a_flipped_image_has_the_flipped_lr(size: tuple[int, int], scale: int) -> None:
    hr, degrade = make_noise(1, 1, *size), KSpace(scale)
    assert torch.allclose(degrade(hr.flip(-1)), degrade(hr).flip(-1), atol=1e-12)
    assert torch.allclose(degrade(hr.flip(-2)), degrade(hr).flip(-2), atol=1e-12)
    assert torch.allclose(degrade(hr.mT), degrade(hr).mT, atol=1e-12)


def test_lr_lies_where_that_of_bicubic_lies() -> None:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    blob = torch.exp(-((y - 40.3) ** 2 + (x - 33.7) ** 2) / 120)[None, None].double()
    ours, bicubic = KSpace(2)(blob), Bicubic(2)(blob)
    assert (ours - bicubic).abs().max() < 2e-3
    for image in (ours, bicubic):
        center = (image.sum(dim=-2)[0, 0] * torch.arange(40)).sum() / image.sum()
        assert center == pytest.approx((33.7 + 0.5) / 2 - 0.5, abs=1e-3)


def test_zero_filled_k_space_contradicts_no_lr() -> None:
    lr = resize_kspace(make_noise(1, 1, 7, 12), (21, 36)) + 1  # smooth, and far from black
    for scale in (2, 3):
        hr = ZeroFilled(scale, 1)(lr)
        assert hr.shape == (1, 1, 21 * scale, 36 * scale)
        assert (KSpace(scale)(hr) - lr).abs().max() < 1e-12


def test_an_edge_rings_and_a_window_reduces_it() -> None:
    edge = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    edge[..., 16:48] = 1
    peaks = {
        window: resize_kspace(resize_kspace(edge, (32, 32), window), (64, 512)).max().item()
        for window in ("none", "hamming", "hann")
    }
    assert 1.08 < peaks["none"] < 1.14  # Gibbs: 9 % of the step
    assert peaks["hann"] < 1.01
    assert peaks["hamming"] < 1.02
    assert KSpace(2)(edge).min() >= 0  # a magnitude
    widths = {window: ((lr > 0.1) & (lr < 0.9)).sum() for window, lr in ((w, KSpace(2, w)(edge)) for w in peaks)}
    assert widths["hann"] > widths["none"]


def test_levels_are_rounded_once_and_white_is_never_passed() -> None:
    hr = (torch.rand(1, 2, 40, 40, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8) * 255
    lr, exact = KSpace(2)(hr), KSpace(2)(hr.double() / 255) * 255
    assert torch.equal(lr, (exact + 0.5).floor().clamp(0, 255).to(torch.uint8))


def test_a_gradient_passes_and_a_wrong_window_is_named() -> None:
    hr = make_noise(1, 1, 16, 16).requires_grad_()
    KSpace(2)(hr).sum().backward()
    assert hr.grad.isfinite().all()
    with pytest.raises(UserError, match=r"data.degrade.window=kaiser: expected one of none, hann, hamming"):
        KSpace(2, "kaiser")
    assert repr(KSpace(4)) == "KSpace(scale=4, window=none)"
    assert imresize(hr, 0.5).shape == KSpace(2)(hr).shape
