"""JPEG as an op: Pillow's pictures, with a gradient."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_degrade import bytes_of

from sr.degrade.jpeg import jpeg


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_is_that_of_pillow(quality: int, sr_data: Path) -> None:
    """On photographs, one of odd size, one gray: within one level, mean absolute difference."""
    files = [sr_data / "Set14" / "HR" / f"{name}.png" for name in ("baboon", "comic", "lenna")]
    photos = [Image.open(file).convert("RGB").crop((0, 0, 240, 200)) for file in files]
    for photo in (*photos, photos[0].crop((3, 3, 90, 72)), photos[1].convert("L")):
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality)
        theirs, given = (
            torch.from_numpy(np.atleast_3d(np.array(x))).permute(2, 0, 1) for x in (Image.open(file), photo)
        )
        ours = jpeg([given / 255], [quality])[0] * 255
        assert torch.equal(ours, ours.round())
        assert (ours - theirs).abs().mean() < 0.5  # the promise is 1


def test_jpeg_has_a_gradient() -> None:
    image = (bytes_of(1, 3, 30, 41)[0] / 255).requires_grad_()
    jpeg([image], [60])[0].square().sum().backward()
    assert image.grad.isfinite().all()
    assert (image.grad.abs().mean(dim=(1, 2)) > 0.01).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_has_a_gradient_for_images_of_different_sizes_side_by_side(channels: int) -> None:
    """That of each by itself; one has an odd size, one is smaller than a block."""
    images = [bytes_of(1, channels, h, w, seed=h)[0] / 255 for h, w in ((30, 41), (48, 32), (7, 5))]
    quality, found = [60, 30, 90], []
    for some in (zip(images, quality, strict=True), *([pair] for pair in zip(images, quality, strict=True))):
        given = [(image.clone().requires_grad_(), q) for image, q in some]
        sum(done.square().sum() for done in jpeg(*zip(*given, strict=True))).backward()
        found.append([image.grad for image, _ in given])
    together, *alone = found
    for one, (other,) in zip(together, alone, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)
