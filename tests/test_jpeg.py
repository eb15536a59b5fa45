"""JPEG as a degradation: equal to Pillow's, and differentiable."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from test_degrade import random_images

from sr.degrade.jpeg import compress


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_is_close_to_pillow(quality: int, sr_data: Path) -> None:
    """The mean absolute difference is below one level on photographs, one of odd size, one gray."""
    files = [sr_data / "Set14" / "HR" / f"{name}.png" for name in ("baboon", "comic", "lenna")]
    photos = [Image.open(file).convert("RGB").crop((0, 0, 240, 200)) for file in files]
    for photo in (*photos, photos[0].crop((3, 3, 90, 72)), photos[1].convert("L")):
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality)
        expected, original = (
            torch.from_numpy(np.atleast_3d(np.array(x))).permute(2, 0, 1) for x in (Image.open(file), photo)
        )
        result = compress([original / 255], [quality])[0] * 255
        assert torch.equal(result, result.round())
        assert (result - expected).abs().mean() < 0.5  # 1 is promised


@pytest.mark.parametrize(("height", "width"), [(24, 32), (32, 24), (40, 48), (18, 20), (17, 19)])
def test_borders_of_saturated_images_are_pillows(height: int, width: int) -> None:
    """Even heights that are no multiple of 16 were off by up to 5 levels in the last rows."""
    noise = np.random.default_rng(0).normal(128, 400, (height, width, 3))
    image = np.clip(ndimage.gaussian_filter(noise, (2, 2, 0)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    result = compress([torch.from_numpy(image).permute(2, 0, 1) / 255], [60])[0].permute(1, 2, 0).numpy() * 255
    assert (
        np.abs(result - np.asarray(Image.open(file)))[-10:].mean() < 0.3
    )  # a coefficient at a half may be rounded differently


def test_jpeg_has_a_gradient() -> None:
    image = (random_images(1, 3, 30, 41)[0] / 255).requires_grad_()
    compress([image], [60])[0].square().sum().backward()
    assert image.grad.isfinite().all()
    assert (image.grad.abs().mean(dim=(1, 2)) > 0.01).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_has_a_gradient_for_images_of_different_sizes_in_one_call(channels: int) -> None:
    """It equals that of each image alone; one has an odd size, one is smaller than a block."""
    images = [random_images(1, channels, h, w, seed=h)[0] / 255 for h, w in ((30, 41), (48, 32), (7, 5))]
    quality, gradients = [60, 30, 90], []
    for group in (zip(images, quality, strict=True), *([pair] for pair in zip(images, quality, strict=True))):
        inputs = [(image.clone().requires_grad_(), q) for image, q in group]
        sum(result.square().sum() for result in compress(*zip(*inputs, strict=True))).backward()
        gradients.append([image.grad for image, _ in inputs])
    together, *alone = gradients
    for gradient, (expected,) in zip(together, alone, strict=True):
        assert expected.any()
        torch.testing.assert_close(gradient, expected)
