"""What augmentations draw: which images of a batch they act on, who is mixed with whom, and where.

All on the CPU from the generator that they are given, and the same count whatever comes out, so that a run repeats.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from sr.runtime.error import UserError


class Rectangles(NamedTuple):
    """One for each image, in LR pixels; all of one size."""

    top: Tensor  # [B]
    left: Tensor  # [B]
    height: int
    width: int

    def mask(self, image: Tensor, scale: int = 1) -> Tensor:
        """Where they lie in `image` `[B, C, s·h, s·w]`: bool `[B, 1, s·h, s·w]`, on its device."""
        inside = []
        for first, length, side in ((self.top, self.height, image.shape[-2]), (self.left, self.width, image.shape[-1])):
            place = torch.arange(side, device=image.device)
            start = scale * first.to(image.device)[:, None]
            inside.append((place >= start) & (place < start + scale * length))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def check_share(name: str, dial: str, value: float) -> float:
    """`value`, if it is a number from 0 to 1; `name` is the augmentation's, `dial` that of its argument."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"data.augment.{name}.{dial}={value}: expected a number from 0 to 1")
    return float(value)


def acting(batch: int, probability: float, generator: Generator) -> Tensor:
    """Which images of the batch, each for itself: bool `[B]`, on the CPU."""
    return torch.rand(batch, generator=generator) < probability


def partners(batch: int, generator: Generator) -> Tensor:
    """For each image the index of another one, `[B]` on the CPU: all are moved on by the same count, never by none."""
    by = int(torch.randint(1, max(2, batch), (1,), generator=generator))
    return (torch.arange(batch) + by) % batch


def rectangles(lr: Tensor, ratio: float, generator: Generator) -> Rectangles:
    """Of `ratio` times the sides of `lr` `[B, C, h, w]`, one pixel at least; every place within is as likely."""
    b, (h, w) = len(lr), lr.shape[-2:]
    height, width = (max(1, round(ratio * side)) for side in (h, w))
    top = torch.randint(h - height + 1, (b,), generator=generator)
    left = torch.randint(w - width + 1, (b,), generator=generator)
    return Rectangles(top, left, height, width)


def chosen(where: Tensor, image: Tensor) -> Tensor:
    """`[B]` of the CPU as something to be broadcast to `image` `[B, C, H, W]`, on its device."""
    return where.to(image.device)[:, None, None, None]
