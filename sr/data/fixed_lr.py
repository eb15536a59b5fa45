"""LR that a fixed degradation makes of whole images, once; and the name under which the cache stores it."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sr.image.color import rgb_to_gray as to_gray

PROBE_SIDE = 24  # LR pixels a side of the image by whose result two degradations are distinguished
PLAIN_TYPES = (str, int, float, bool, type(None), Path)


class FixedLR:
    """Makes the LR of a whole image, the same each time. With `gray`, HR is converted to gray first.

    `channels` are those of the images, if there are more than three.
    """

    def __init__(self, degrade: Callable[[Tensor], Tensor], scale: int, gray: bool, channels: int = 3) -> None:
        self.degrade, self.scale, self.gray, self.channels = degrade, scale, gray, channels

    def __call__(self, hr: Tensor) -> Tensor:
        """Degrade uint8 `[3 or 1, H, W]` of any size, as decoded -> `[3 or 1, H // scale, W // scale]`."""
        h, w = (n - n % self.scale for n in hr.shape[-2:])
        hr = hr[:, :h, :w]
        return self.degrade(to_gray(hr) if self.gray else hr)

    def __repr__(self) -> str:
        return f"Shrink({self.name})"  # part of the names of cache entries

    @cached_property
    def name(self) -> str:
        """A digest that differs for different degradations, whatever their repr shows: of the class, all options and
        weights, and of the result for one image, which reveals closures and other programs too."""
        digest = hashlib.sha256(repr((self.scale, self.gray, *_list_settings(self.degrade))).encode())
        if isinstance(self.degrade, nn.Module):
            for weight in (*self.degrade.parameters(), *self.degrade.buffers()):
                digest.update(repr(weight.shape).encode())
                digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        digest.update(self(self._draw_probe()).contiguous().numpy())
        return digest.hexdigest()

    def _draw_probe(self) -> Tensor:
        """Draw an image with as many channels as the degradation may need, always the same."""
        probe = _draw_probe(PROBE_SIDE * self.scale)
        return probe if self.channels <= 3 else probe.repeat(self.channels, 1, 1)[: self.channels]


def _list_settings(part: Any) -> Iterator[Any]:
    """Yield the class of each module and all its plain attributes, including those that its repr does not show."""
    for module in part.modules() if isinstance(part, nn.Module) else [part]:
        yield type(module).__module__, type(module).__qualname__
        yield sorted((key, repr(value)) for key, value in getattr(module, "__dict__", {}).items() if _is_plain(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value, *value.values())))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN_TYPES)


def _draw_probe(side: int) -> Tensor:
    """Draw areas, edges and noise, uint8 `[3, side, side]`, always the same."""
    generator = torch.Generator().manual_seed(0)
    areas, noise = (torch.randint(0, 256, (3, n, n), generator=generator) for n in (4, side))
    areas = areas.repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    return torch.where(torch.arange(side) < side // 2, areas, noise).to(torch.uint8)
