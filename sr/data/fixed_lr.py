"""LR that is made of whole pictures once, by a degradation that is fixed; and the name by which the cache knows it."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.image.color import rgb_to_gray as to_gray

SIDE = 24  # LR pixels a side of the picture by which degradations are told apart
PLAIN = (str, int, float, bool, type(None), Path)


class FixedLR:
    """How LR is made of a whole picture, where that is the same each time. HR is turned gray first with `gray`."""

    def __init__(self, degrade: Callable[[Tensor], Tensor], scale: int, gray: bool) -> None:
        self.degrade, self.scale, self.gray = degrade, scale, gray

    def __call__(self, hr: Tensor) -> Tensor:
        """uint8 `[3 or 1, H, W]` of any size, as it is in the file -> `[3 or 1, H // scale, W // scale]`."""
        h, w = (n - n % self.scale for n in hr.shape[-2:])
        hr = hr[:, :h, :w]
        return self.degrade(to_gray(hr) if self.gray else hr)

    def __repr__(self) -> str:
        return f"Shrink({self.name})"

    @cached_property
    def name(self) -> str:
        """Another one for another degradation, whatever that shows of itself: by its class, all its dials and weights, and by
        what it makes of a picture, where a closure's or another program's are seen too."""
        digest = hashlib.sha256(repr((self.scale, self.gray, *_told(self.degrade))).encode())
        if isinstance(self.degrade, nn.Module):
            for weight in (*self.degrade.parameters(), *self.degrade.buffers()):
                digest.update(repr(weight.shape).encode())
                digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        digest.update(self(_picture(SIDE * self.scale)).contiguous().numpy())
        return digest.hexdigest()


def _told(part: Any) -> Iterator[Any]:
    """The class of each module and all that is plain in it, also what does not stand in its repr."""
    for module in part.modules() if isinstance(part, nn.Module) else [part]:
        yield type(module).__module__, type(module).__qualname__
        yield sorted((key, repr(value)) for key, value in getattr(module, "__dict__", {}).items() if _is_plain(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN)


def _picture(side: int) -> Tensor:
    """Areas, edges and noise, uint8 `[3, side, side]`, always the same."""
    chance = torch.Generator().manual_seed(0)
    areas, noise = (torch.randint(0, 256, (3, n, n), generator=chance) for n in (4, side))
    areas = areas.repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    return torch.where(torch.arange(side) < side // 2, areas, noise).to(torch.uint8)
