"""`imresize` by an integer factor, for graphs that are exported: no table in it depends on the size of the image.

`sr.image.resize` multiplies by matrices that it builds, and saves, for each size; a graph for all sizes cannot hold those.
Upscaling by s repeats the same s sets of weights for each pixel, one set for each of its s outputs.
"""

import torch
from torch import Tensor

REACH = 2  # pixels to each side that an output depends on


def upscale_by_taps(image: Tensor, scale: int, levels: int | None = None) -> Tensor:
    """Return `[..., H, W]` -> `[..., scale·H, scale·W]`, float, with mirrored borders; rows first, then columns.

    `levels` is the white of an image in levels, such as 255: each pass is rounded half up to 0…`levels` then.
    """
    weights = compute_phases(scale)
    for axis in (-2, -1):
        image = _upscale_axis(image, axis, weights)
        if levels is not None:
            image = (image + 0.5).floor().clamp(0, levels)
    return image


def compute_phases(scale: int) -> list[list[float]]:
    """Return the weights of the pixels `-REACH … REACH` around a pixel, for each of its `scale` outputs."""
    phases = []
    for phase in range(scale):
        center = (phase + 0.5) / scale - 0.5  # of the output, in pixels from the center of the pixel
        weights = [evaluate_cubic(center - tap, -0.5) for tap in range(-REACH, REACH + 1)]
        phases.append([weight / sum(weights) for weight in weights])
    return phases


def evaluate_cubic(x: float, a: float) -> float:
    """Return the weight of a pixel at distance `x` (Keys, "Cubic convolution interpolation", 1981, eq. 15)."""
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def _upscale_axis(image: Tensor, axis: int, phases: list[list[float]]) -> Tensor:
    n = image.shape[axis]
    index = torch.arange(-REACH, n + REACH, device=image.device)
    index = torch.where(index < 0, -1 - index, index)  # … 2 1 | 1 2 …
    index = torch.where(index < n, index, 2 * n - 1 - index).clamp(min=0)  # … n | n n-1 …
    padded = image.index_select(axis, index)
    shifted = [padded.narrow(axis, k, n) for k in range(2 * REACH + 1)]
    outputs = []
    for weights in phases:
        terms = [weight * pixels for weight, pixels in zip(weights, shifted, strict=True) if weight]
        outputs.append(sum(terms[1:], terms[0]))
    dim = image.ndim + axis  # without the outputs
    return torch.stack(outputs, dim=dim + 1).flatten(dim, dim + 1)  # next to each other
