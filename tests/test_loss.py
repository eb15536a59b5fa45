"""Losses beyond pixels: their values for known errors, and equality with the metrics of the same name."""

import math

import pytest
import torch
from specimen import levels
from torch import Tensor, nn

from sr.loss.fft import FFT
from sr.loss.focal_frequency import FocalFrequency
from sr.loss.gradient import Gradient
from sr.loss.l1 import L1
from sr.loss.ms_ssim import MSSSIMLoss, compute_scale_weights
from sr.loss.ssim import SSIM, compute_ssim_terms
from sr.loss.tv import TV
from sr.metric.ms_ssim import ms_ssim
from sr.metric.ssim import ssim
from sr.runtime.error import UserError


def make_images(side: int, width: int, error: float) -> tuple[Tensor, Tensor]:
    """Return noisy, darker images and smooth ones, `[2, 1, side, width]`; a third is flat, the hard case for float32."""
    generator = torch.Generator().manual_seed(1)
    hr = nn.functional.interpolate(torch.rand(2, 1, 8, 8, generator=generator), (side, width), mode="bicubic").clamp(
        0, 1
    )
    hr[..., : width // 3] = 0.9
    return ((1 - error) * hr + error * torch.randn(hr.shape, generator=generator)).clamp(0, 1), hr


def wave(across: int, amplitude: float, side: int = 32) -> Tensor:
    """Return an image of `across` periods of a cosine from left to right."""
    line = amplitude * torch.cos(2 * math.pi * across * torch.arange(side) / side)
    return line.expand(1, 1, side, side).clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_l1_has_the_bits_of_pytorch(dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Value and gradients, also of values that are equal, infinite or no number, and with a weight."""
    results = []
    for loss in (nn.L1Loss(), L1()):
        sr, hr = (x.to(memory_format=layout) for x in make_images(33, 47, 0.1))
        sr[0, :, :3] = hr[0, :, :3].to(dtype)
        sr[1, :, 0, :2] = torch.tensor([torch.inf, torch.nan])
        sr, hr = sr.to(dtype).requires_grad_(), hr.requires_grad_()
        bad, good = loss(sr, hr), loss(sr[:1], hr[:1])
        total = 0.3 * bad + 7 * good
        results.append([bad, good, *torch.autograd.grad(total, (sr, hr), retain_graph=True)])
        results[-1] += torch.autograd.grad(-total, (sr, hr))  # a graph can be used twice
    for expected, found in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))


@pytest.mark.parametrize("error", [0.002, 0.1])
def test_ssim_equals_the_metric(error: float) -> None:
    for loss, measure, size in ((SSIM(), ssim, (40, 61)), (MSSSIMLoss(), ms_ssim, (176, 179))):
        sr, hr = make_images(*size, error)
        expected = 1 - measure(sr.double() * 255, hr.double() * 255).mean().item()
        assert loss(sr, hr).item() == pytest.approx(expected, abs=1e-5)
        assert expected > 1e-4


def test_gradients_are_those_of_the_formula() -> None:
    """They are compared with numerical differentiation."""
    x, y = (levels(1, 2, 11, 13, seed=seed).double() / 255 for seed in (0, 1))
    sr = (0.5 * x + 0.5 * y).requires_grad_()
    for loss in (SSIM(), MSSSIMLoss()):
        assert torch.autograd.gradcheck(lambda sr, loss=loss: loss(sr, y), sr, fast_mode=True)


@pytest.mark.parametrize(("side", "scales"), [(11, 1), (21, 1), (22, 2), (64, 3), (96, 4), (176, 5)])
def test_ms_ssim_has_the_scales_that_fit(side: int, scales: int) -> None:
    weights = compute_scale_weights(side)
    assert len(weights) == scales
    assert sum(weights) == pytest.approx(1.0001)
    sr, hr = make_images(side, side, 0.1)
    assert 0 < MSSSIMLoss()(sr, hr) < 1


def test_ms_ssim_of_inverted_detail_can_be_learned_from() -> None:
    """Contrast at full resolution is negative, which has no power; the other scales still give a gradient."""
    hr = levels(1, 1, 48, 48) / 255
    coarse = nn.functional.avg_pool2d(hr, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    sr = (2 * coarse - hr + 0.1).requires_grad_()
    assert compute_ssim_terms(sr, hr)[1] < 0
    MSSSIMLoss()(sr, hr).backward()
    assert sr.grad.isfinite().all()
    assert sr.grad.abs().max() > 1e-6


def test_small_patches_are_refused_in_the_users_words() -> None:
    small = torch.rand(1, 3, 10, 40)
    for loss in (SSIM(), MSSSIMLoss()):
        with pytest.raises(UserError, match=r"11×11 HR pixels, got 10×40: increase data\.patch"):
            loss(small, small)


def test_fft_compares_amplitudes_without_phase() -> None:
    hr = levels(2, 3, 16, 16) / 255
    assert FFT()(hr.roll((3, 5), (-2, -1)), hr).item() == pytest.approx(0, abs=1e-6)
    brighter = FFT()(hr + 0.1, hr).item()  # one frequency of 16·9, off by 0.1 times the root of 16·16
    assert brighter == pytest.approx(0.1 * 16 / (16 * 9), rel=1e-4)


def test_focal_frequency_weights_the_worst_most() -> None:
    hr = levels(1, 1, 32, 32) / 255
    one, two = wave(3, 0.2), wave(3, 0.2) + wave(7, 0.1)
    assert FocalFrequency()(hr + one, hr).item() == pytest.approx(0.2**2 / 2, rel=1e-4)
    assert FocalFrequency()(hr + two, hr).item() == pytest.approx(0.2**2 / 2 + 0.5 * 0.1**2 / 2, rel=1e-4)
    assert FocalFrequency(alpha=2)(hr + two, hr).item() == pytest.approx(0.2**2 / 2 + 0.25 * 0.1**2 / 2, rel=1e-4)
    assert FocalFrequency(alpha=0)(hr + two, hr).item() == pytest.approx(two.square().mean().item(), rel=1e-4)


def test_gradient_and_total_variation_of_a_slope() -> None:
    """The slope is 0.01 per pixel horizontally, 0.02 vertically."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    slope = (0.01 * x + 0.02 * y).expand(1, 3, 16, 20)
    flat = torch.full_like(slope, 0.5)
    assert Gradient()(slope, flat).item() == pytest.approx(0.03, rel=1e-4)
    assert Gradient()(slope, slope + 0.3).item() == pytest.approx(0, abs=1e-6)  # it ignores brightness
    assert Gradient()(-slope, slope).item() == pytest.approx(0.06, rel=1e-4)  # but not the direction of an edge
    assert TV()(slope, flat).item() == TV()(slope, slope).item() == pytest.approx(0.03, rel=1e-4)
    assert TV()(flat, slope) == 0
