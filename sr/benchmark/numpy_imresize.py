"""MATLAB's bicubic `imresize` as it is usually written in NumPy: a loop over output lines."""

import math

import numpy as np
from numpy.typing import NDArray


def matlab_imresize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize uint8 `[H, W, C]`, rounded after each pass."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0).astype(np.float64)
        weight, index = _compute_contributions(len(lines), math.ceil(scale * len(lines)), scale)
        out = np.empty((len(weight), *lines.shape[1:]))
        for k in range(len(weight)):
            out[k] = np.tensordot(weight[k], lines[index[k]], axes=1)
        image = np.moveaxis(np.clip(np.floor(out + 0.5), 0, 255).astype(np.uint8), 0, axis)
    return image


def _compute_contributions(n_in: int, n_out: int, scale: float) -> tuple[NDArray, NDArray]:
    """Return for each output line the weights and the mirrored indices of the input lines, as in MATLAB's imresize.m."""
    width = 4 / min(scale, 1)
    center = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)
    index = np.floor(center - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    x = np.abs(center[:, None] - index) * min(scale, 1)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = inner * (x <= 1) + outer * ((x > 1) & (x <= 2))
    mirror = np.concatenate([np.arange(n_in), np.arange(n_in)[::-1]])
    return weight / weight.sum(axis=1, keepdims=True), mirror[(index.astype(int) - 1) % (2 * n_in)]
