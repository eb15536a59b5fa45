"""Sets of pictures of any size: listed and checked by their headers first, decoded once, kept in memory or mapped."""

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from sr.data.cache import Cache
from sr.data.fixed_lr import FixedLR
from sr.image.batch import Raw
from sr.image.read import Header, probe, read_image
from sr.runtime.error import UserError

MEMORY = 4e9  # bytes of decoded pictures that one set may keep
Source = tuple[Path, FixedLR | None]  # a file, and what is made of it
Make = Callable[[], Tensor]
MAPS = 30_000  # pictures mapped at once; Linux allows a process 65,530 maps


class ImageSet(Dataset):
    """HR pictures, with or without their LR counterparts; item `i` is a whole picture as `Raw`, `[C, H, W]`.

    HR is cropped at the bottom and right to a multiple of `scale`, as every protocol of the field does. A set of up to
    `memory` bytes is kept in memory; of a larger one, each picture is a view of its entry in `cache`, if there is one.
    """

    batch = 1  # for evaluation: pictures differ in size
    keep = True  # decoded pictures, for when they are wanted again

    def __init__(
        self,
        hr: Sequence[Path],
        scale: int,
        lr: Sequence[Path] | None = None,
        memory: float = MEMORY,
        cache: Cache | None = None,
    ) -> None:
        self.scale, self.memory, self.cache = scale, memory, cache
        self._hr, self._lr, self._headers = list(hr), list(lr) if lr else None, read_headers(hr)
        self._shrink: FixedLR | None = None
        self.names = name_images(self._hr)
        self._begin()

    def _begin(self) -> None:
        s = self.scale
        self.sizes = [(h - h % s, w - w % s) for h, w, _ in self._headers]  # (H, W), cropped
        self.bytes = sum(h * w * 3 for h, w in self.sizes) * (1 + 1 / s**2 * self.has_lr)  # when decoded
        self._kept: dict[int, Raw] = {}
        self._free = self.memory

    def __len__(self) -> int:
        return len(self._hr)

    def __getstate__(self) -> dict[str, Any]:
        """For a loader process that is not a fork: it opens maps of its own, instead of being sent their pixels."""
        return self.__dict__ | ({"_kept": {}} if self.is_mapped else {})

    @property
    def has_lr(self) -> bool:
        """Whether a picture comes with its LR, from a file or made once."""
        return self._lr is not None or self._shrink is not None

    @property
    def is_paired(self) -> bool:
        """Whether LR comes from files."""
        return self._lr is not None

    @property
    def files(self) -> list[Path]:
        """All files behind the set, HR first."""
        return [*self._hr, *(self._lr or [])]

    @property
    def is_mapped(self) -> bool:
        """Whether the set is too large for memory, and is read from the cache."""
        return self.cache is not None and self.keep and self.bytes > self.memory

    def __getitem__(self, index: int | list[int]) -> Raw:
        if isinstance(index, list):
            return collate([self[i] for i in index])
        if index in self._kept:
            return self._kept[index]
        return self._open(index, self.cache.pixels if self.is_mapped else _in_memory)

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        """The pictures of these indices, as a set of their own."""
        part = copy(self)
        part._hr, part._headers = [self._hr[i] for i in indices], [self._headers[i] for i in indices]
        part._lr = [self._lr[i] for i in indices] if self._lr else None
        part.names = [self.names[i] for i in indices]
        part._begin()
        return part

    def add_fixed_lr(self, shrink: FixedLR) -> "ImageSet":
        """The same pictures with LR made of each of them, as whole as it is, once."""
        part = copy(self)
        part._shrink = shrink
        part._begin()
        return part

    def load(self, *more: "ImageSet") -> None:
        """Decode what fits in memory or is not in the cache, side by side, with a progress bar; every damaged file is
        named at once."""
        jobs = [(pictures, index) for pictures in (self, *more) for index in range(len(pictures))]
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(_find, jobs))  # first, for what is in use is not removed to make room
            left = [job for job, there in enumerate(found) if not there]
            random.Random(os.getpid()).shuffle(left)  # noqa: S311  processes that begin together share the work
            done = pool.map(lambda job: _fault(*jobs[job]), left)
            bar = tqdm(done, total=len(left), desc="decoding", unit="image", delay=2)
            faults = dict(zip(left, bar, strict=True))
        if any(faults.values()):
            raise UserError("\n".join(faults[job] for job in sorted(faults) if faults[job]))

    def _sources(self, index: int) -> list[Source]:
        lr = [(self._lr[index], None)] if self._lr else [(self._hr[index], self._shrink)] if self._shrink else []
        return [(self._hr[index], None), *lr]

    def _open(self, index: int, pixels: Callable[[Path, FixedLR | None, Make | None], tuple[Tensor, bool]]) -> Raw:
        """The picture, of what `pixels` gives for each source: its pixels, and whether they are mapped."""
        h, w = self.sizes[index]
        opened: list[tuple[Tensor, bool]] = []
        for file, shrink in self._sources(index):
            opened.append(pixels(file, shrink, partial(shrink, opened[0][0]) if shrink else None))
        found, mapped = zip(*opened, strict=True)
        views = [x.expand(3, -1, -1) for x in (found[0][:, :h, :w], *found[1:])]
        if not all(mapped):
            views = [x.contiguous() for x in views]
        raw = Raw(*views, gray=found[0].shape[0] == 1)
        cost = 0 if all(mapped) else sum(x.numel() for x in views)
        if self.keep and cost <= self._free and (cost or len(self._kept) < MAPS):
            self._free -= cost
            self._kept[index] = raw
        return raw


def _in_memory(file: Path, shrink: FixedLR | None, make: Make | None) -> tuple[Tensor, bool]:
    return (make() if make else read_image(file).pixels), False


def _find(job: tuple[ImageSet, int]) -> bool:
    """Open a picture whose files are in the cache; whether they are."""
    pictures, index = job
    if not pictures.is_mapped:
        return False
    found = {source: pictures.cache.find(*source) for source in pictures._sources(index)}
    if any(pixels is None for pixels in found.values()):
        return False
    pictures._open(index, lambda file, shrink, make: (found[file, shrink], True))
    return True


def _fault(pictures: ImageSet, index: int) -> str | None:
    try:
        pictures[index]
    except UserError as error:
        return str(error)
    return None


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """What the headers tell, side by side; all faults are listed at once, before any training."""

    def one(path: Path) -> Header | UserError:
        try:
            return probe(path)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(one, paths))
    faults = [str(header) for header in found if isinstance(header, UserError)]
    if faults:
        raise UserError("\n".join(faults))
    return found


def name_images(paths: Sequence[Path]) -> list[str]:
    """Each picture's shortest name that no other has: a, else a.png, else HR/a.png, else T91/HR/a.png."""
    found = [path.stem for path in paths]
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        often = Counter(found)
        if len(often) == len(found):
            break
        found = [
            "/".join(path.parts[-depth:]) if often[name] > 1 else name for path, name in zip(paths, found, strict=True)
        ]
    return found


def collate(items: list[Raw]) -> Raw:
    """Pictures of one size as one batch, `[B, C, H, W]`."""
    lr: Tensor | None = torch.stack([item.lr for item in items]) if items[0].lr is not None else None
    return Raw(torch.stack([item.hr for item in items]), lr, gray=all(item.gray for item in items))
