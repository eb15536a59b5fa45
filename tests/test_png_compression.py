"""The way in which a PNG file is compressed: chosen from a sample, and never much larger than the best of three ways."""

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from sr.image.png_writer import (
    GAIN,
    NONE,
    PAETH,
    RUNS,
    SEARCH,
    _count_compressed,
    choose_compression,
    filter_rows,
    number_rows,
)

Rows = NDArray[np.uint8]


def make_noise(height: int, width: int) -> Rows:
    """Return a gray image of black and white pixels at random, as a dithered one has."""
    return np.random.default_rng(0).integers(0, 2, (height, width), dtype=np.uint8) * 255


def make_photograph(height: int, width: int) -> Rows:
    """Return rows of an RGB photograph."""
    image = np.tile(skimage.data.chelsea(), (1, 1 + width // 451, 1))
    return image[100 : 100 + height, 100 : 100 + width].reshape(height, -1)


def compress(rows: Rows, step: int) -> dict[tuple[int, int], int]:
    """Return the size of the whole image by filter and strategy."""
    filtered, plain = filter_rows(rows, np.zeros_like(rows[:1]), step), number_rows(rows, NONE)
    ways = {(PAETH, RUNS): filtered, (PAETH, SEARCH): filtered, (NONE, SEARCH): plain}
    return {way: _count_compressed(data, way[1]) for way, data in ways.items()}


@pytest.mark.parametrize("side", [16, 48, 64, 100, 180])
def test_a_photograph_is_not_searched(side: int) -> None:
    assert choose_compression(make_photograph(side, side), 3) == (PAETH, RUNS)


@pytest.mark.parametrize("shape", [(200, 10240), (64, 9000), (1, 40000), (300, 300), (20, 30)])
def test_a_dithered_image_is_not_filtered(shape: tuple[int, int]) -> None:
    assert choose_compression(make_noise(*shape), 1) == (NONE, SEARCH)


@pytest.mark.parametrize(("rows", "step"), [
    (make_photograph(1, 400), 3), (make_photograph(150, 300), 3), (make_noise(100, 500), 1),
    (np.zeros((300, 900), np.uint8), 3), (make_photograph(6, 4000), 3), (skimage.data.page(), 1),
])  # fmt: skip
def test_no_way_is_much_smaller_than_the_chosen_one(rows: Rows, step: int) -> None:
    sizes = compress(rows, step)
    assert GAIN**2 * sizes[choose_compression(rows, step)] <= min(sizes.values())
