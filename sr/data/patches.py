"""Training patches. Chance is drawn in the sampler, from (seed, epoch, index) alone, and travels with the order:
so order, place and turn of every patch are the same with any number of workers, and the same when the run is done again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from sr.data.pictures import Pictures
from sr.error import UserError
from sr.pair import Raw


class Draw(NamedTuple):
    """What one batch is made of."""

    index: np.ndarray  # int64 [B]: which picture
    place: np.ndarray  # float64 [B, 2], 0…1: where in it (row, column)
    turn: np.ndarray  # uint8 [B], 0…7: see `sr.pair.Raw`


class Draws(Sampler[Draw]):
    """An epoch shows each of `n` pictures `repeat` times, in batches; a last, smaller batch is left out."""

    def __init__(self, n: int, batch: int, repeat: int, seed: int) -> None:
        self.n, self.batch, self.repeat, self.seed, self.epoch = n, batch, repeat, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, self.n * self.repeat // self.batch)

    def __iter__(self) -> Iterator[Draw]:
        chance = np.random.default_rng([self.seed, self.epoch])
        count = len(self) * self.batch
        shown = np.resize(np.tile(np.arange(self.n), self.repeat), max(count, self.n * self.repeat))
        order = chance.permutation(shown)[:count]
        place = chance.random((count, 2))
        turn = chance.integers(0, 8, count, dtype=np.uint8)
        for start in range(0, count, self.batch):
            part = slice(start, start + self.batch)
            yield Draw(order[part], place[part], turn[part])


class Patches(Dataset):
    """`Draw` -> `Raw` of square HR patches `[B, C, patch, patch]` and, where LR files exist, their LR patches."""

    def __init__(self, pictures: Pictures, patch: int) -> None:
        if patch % pictures.scale:
            raise UserError(f"data.patch={patch} is in HR pixels and must be a multiple of scale={pictures.scale}")
        for name, (h, w) in zip(pictures.names, pictures.sizes, strict=True):
            if min(h, w) < patch:
                raise UserError(
                    f"data.patch={patch} is larger than image {name} ({w}×{h}): lower it or remove the image"
                )
        self.pictures, self.patch = pictures, patch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, draw: Draw) -> Raw:
        s, p = self.pictures.scale, self.patch
        hr = torch.empty(len(draw.index), 3, p, p, dtype=torch.uint8)
        lr: torch.Tensor | None = None
        for k, (index, place) in enumerate(zip(draw.index, draw.place, strict=True)):
            whole = self.pictures[index]
            _, h, w = whole.hr.shape
            top, left = (int(u * ((n - p) // s + 1)) for u, n in zip(place, (h, w), strict=True))  # in LR pixels
            hr[k] = whole.hr[:, s * top : s * top + p, s * left : s * left + p]
            if whole.lr is not None:
                lr = torch.empty(len(draw.index), 3, p // s, p // s, dtype=torch.uint8) if lr is None else lr
                lr[k] = whole.lr[:, top : top + p // s, left : left + p // s]
        return Raw(hr, lr, torch.from_numpy(draw.turn))
