"""Random choices of augmentations: the images of a batch that are changed, the images they are mixed with, and the places.

All numbers are drawn on the CPU from the given generator, and always the same count of them, so that a run is repeatable.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Rectangles(NamedTuple):
    """One rectangle for each image of a batch, in LR pixels; all of one size."""

    top: Tensor  # [B]
    left: Tensor  # [B]
    height: int
    width: int

    def mask(self, image: Tensor, scale: int = 1) -> Tensor:
        """Return the mask of the rectangles in `image` `[B, C, s·h, s·w]`: bool `[B, 1, s·h, s·w]`, on its device."""
        inside = []
        for first, length, side in ((self.top, self.height, image.shape[-2]), (self.left, self.width, image.shape[-1])):
            place = torch.arange(side, device=image.device)
            start = scale * first.to(image.device)[:, None]
            inside.append((place >= start) & (place < start + scale * length))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def draw_images(batch: int, probability: float, generator: Generator) -> Tensor:
    """Draw the images of the batch that are changed, each independently: bool `[B]`, on the CPU."""
    return torch.rand(batch, generator=generator) < probability


def draw_partners(batch: int, generator: Generator) -> Tensor:
    """Draw, for each image, the index of another one, `[B]` on the CPU: all are shifted by one count, which is never 0."""
    shift = int(torch.randint(1, max(2, batch), (1,), generator=generator))
    return (torch.arange(batch) + shift) % batch


def draw_rectangles(lr: Tensor, ratio: float, generator: Generator) -> Rectangles:
    """Draw rectangles of `ratio` times the sides of `lr` `[B, C, h, w]`, at least one pixel, at uniformly random places."""
    b, (h, w) = len(lr), lr.shape[-2:]
    height, width = (max(1, round(ratio * side)) for side in (h, w))
    top = torch.randint(h - height + 1, (b,), generator=generator)
    left = torch.randint(w - width + 1, (b,), generator=generator)
    return Rectangles(top, left, height, width)


def reshape_for(values: Tensor, image: Tensor) -> Tensor:
    """Reshape one value for each image, `[B]` on the CPU, so that it broadcasts to `image` `[B, C, H, W]`, on its device."""
    return values.to(image.device)[:, None, None, None]
