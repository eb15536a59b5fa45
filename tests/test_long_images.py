"""Resizing long images: the same numbers as for short ones, in memory that grows with the image and not with its square."""

import numpy as np
import pytest
import torch

from sr.benchmark.numpy_imresize import matlab_imresize
from sr.image.resize import imresize
from sr.inference.complexity import Meter

LENGTH = 12_000  # pixels; the whole matrix of ×2 would need 2.3 GB


@pytest.mark.parametrize(
    ("shape", "scale"), [((LENGTH, 2), 2), ((2, LENGTH), 2), ((3, LENGTH), 1 / 3), ((LENGTH, 4), 0.25)]
)
def test_a_long_image_needs_little_memory_and_equals_matlabs_loop(shape: tuple[int, int], scale: float) -> None:
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    imresize(image[:9, :9], scale)  # warms up
    meter = Meter(torch.device("cpu"))
    with meter.measure_call():
        resized = imresize(image, scale)
    assert meter.peak < 50e6
    part = image[:60, :60].numpy()[:, :, None]
    expected = torch.from_numpy(matlab_imresize(part, scale)[:, :, 0])
    away = tuple(slice(0, side if side < 9 else side - 9) for side in expected.shape)  # from where the part was cut
    assert torch.equal(resized[away], expected[away])


def test_the_far_end_of_a_long_image_is_resized_as_its_near_end() -> None:
    """Mirrored input gives mirrored output, so that the last rows have the right taps."""
    row = torch.rand(1, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for scale in (2, 0.5):
        assert np.allclose(imresize(row.flip(1), scale), imresize(row, scale).flip(1), rtol=0, atol=1e-12)


def test_memory_is_returned_only_for_an_image_larger_than_all_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """To return it before each of a hundred equal images would have the system provide it again for each."""
    meter, resets = Meter(torch.device("cpu")), []
    reset = meter._reset_peak
    monkeypatch.setattr(meter, "_reset_peak", lambda: (resets.append(len(meter.seconds)), reset())[1])
    for side in (2000, 2000, 100, 3000):
        with meter.measure_call(pixels=side * side):
            torch.ones(side, side)
    assert resets == [0, 3]
    assert len(meter.seconds) == 4
    assert 30e6 < meter.peak < 60e6  # of the largest
