"""LDL: the map of artifacts, and the errors that it weights."""

import pytest
import torch
import torch.nn.functional as F

from sr.loss.ldl import LDL, compute_artifact_map


def test_the_map_is_that_of_the_paper() -> None:
    """It is the variance of a 7×7 window times the fifth root of that of the image, for each pixel."""
    error = torch.rand(2, 3, 12, 10)
    residual = error.sum(dim=1)
    mirrored = F.pad(residual, (3, 3, 3, 3), mode="reflect")
    expected = torch.stack(
        [
            torch.stack(
                [
                    window.var() * image.var() ** 0.2
                    for window in padded.unfold(0, 7, 1).unfold(1, 7, 1).reshape(-1, 7, 7)
                ]
            )
            for padded, image in zip(mirrored, residual, strict=True)
        ]
    )
    torch.testing.assert_close(compute_artifact_map(error), expected.view(2, 1, 12, 10), rtol=1e-4, atol=1e-6)


def test_noise_costs_more_than_a_constant_error() -> None:
    hr = torch.full((1, 3, 24, 24), 0.5)
    noisy = hr + 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0)).sign() * torch.rand(hr.shape)
    assert LDL()(hr + 0.1, hr) == pytest.approx(0, abs=1e-9)
    assert LDL()(noisy, hr) > 1e-5
