"""Training patches. Chance is drawn in the sampler, from (seed, epoch, index) alone, and travels with the order:
so order, place and turn of every patch are the same with any number of workers, and the same when the run is done again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sr.data.image_set import ImageSet
from sr.image.batch import Raw
from sr.runtime.error import UserError


class PatchDraw(NamedTuple):
    """What one batch is made of."""

    index: np.ndarray  # int64 [B]: which picture
    place: np.ndarray  # float64 [B, 2], 0…1: where in it (row, column)
    turn: np.ndarray  # uint8 [B], 0…7: bit 0 flips left-right, bit 1 up-down, bit 2 transposes
    seed: int = 0  # of whatever else is done to the batch by chance


class DataPosition(NamedTuple):
    """Where a training was interrupted."""

    epoch: int
    batches: int  # of that epoch


START = DataPosition(0, 0)


class PatchSampler(Sampler[PatchDraw]):
    """An epoch shows each of `n` pictures `repeat` times, in batches; a last, smaller batch is left out.

    Of `world` processes each has its part of every batch: together they see what one process with a batch `world` times
    as large would see, in that order. An epoch's length is a multiple of `steps` batches. The first epoch is that of
    `seen`, without the batches that an interrupted training had seen.
    """

    def __init__(
        self, n: int, batch: int, repeat: int, seed: int, world: int = 1, rank: int = 0, steps: int = 1,
        seen: DataPosition = START,
    ) -> None:  # fmt: skip
        self.n, self.batch, self.repeat, self.seed, self.steps = n, batch, repeat, seed, steps
        self.epoch, self._skip = seen
        self.world, self.rank = world, rank

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = self.n * self.repeat // (self.batch * self.world)
        return max(self.steps, whole // self.steps * self.steps)

    def __iter__(self) -> Iterator[PatchDraw]:
        chance = np.random.default_rng([self.seed, self.epoch])
        count = len(self) * self.batch * self.world
        shown = np.resize(np.tile(np.arange(self.n), self.repeat), max(count, self.n * self.repeat))
        order = chance.permutation(shown)[:count]
        place = chance.random((count, 2))
        turn = chance.integers(0, 8, count, dtype=np.uint8)
        seeds = chance.integers(0, 2**63, count // self.batch).tolist()
        seen, self._skip = self._skip % len(self), 0
        for k in range(self.rank + seen * self.world, count // self.batch, self.world):
            part = slice(k * self.batch, (k + 1) * self.batch)
            yield PatchDraw(order[part], place[part], turn[part], seeds[k])


class Patches(Dataset):
    """`Draw` -> `Raw` of square HR patches `[B, C, patch, patch]` and, where LR files exist, their LR patches."""

    def __init__(self, pictures: ImageSet, patch: int) -> None:
        s = pictures.scale
        if patch % s:
            raise UserError(f"data.patch={patch} is in HR pixels and must be a multiple of scale={s}")
        small = [k for k, size in enumerate(pictures.sizes) if min(size) < patch]
        if small:
            h, w = pictures.sizes[small[0]]
            others = f" and than {len(small) - 1} more" if len(small) > 1 else ""
            raise UserError(
                f"data.patch={patch} is larger than image {pictures.names[small[0]]} ({w}×{h}){others}: "
                f"lower it or remove the image (data=folder: data.exclude=[{pictures.names[small[0]]}])"
            )
        self.pictures, self.patch = pictures, patch
        self._places = (np.array(pictures.sizes) - patch) // s + 1  # [N, 2]: rows and columns, in LR pixels
        self._resident: list[Resident] = []

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def files(self) -> list[Path]:
        """All files behind the set."""
        return self.pictures.files

    @property
    def is_paired(self) -> bool:
        """Whether LR comes from files."""
        return self.pictures.is_paired

    def __getitem__(self, draw: PatchDraw) -> Raw:
        s, p = self.pictures.scale, self.patch
        corners = (draw.place * self._places[draw.index]).astype(np.int64)  # [B, 2], in LR pixels
        if self._resident:
            cut = [
                r.cut(draw.index, zoom * corners, zoom * p // s)
                for r, zoom in zip(self._resident, (s, 1), strict=False)
            ]
            turn = torch.from_numpy(draw.turn).to(cut[0].device)
            return Raw(*(flip_patches(piece, turn) for piece in cut), seed=draw.seed)
        wholes = [self.pictures[k] for k in draw.index.tolist()]
        hr = _cut([whole.hr for whole in wholes], s * corners, p, draw.turn)
        lr = _cut([whole.lr for whole in wholes], corners, p // s, draw.turn) if self.pictures.has_lr else None
        return Raw(hr, lr, seed=draw.seed)

    def reside(self, device: torch.device) -> None:
        """Keep all pictures on `device`, and cut patches there; for a set that is in memory."""
        wholes = [self.pictures[k] for k in range(len(self))]
        parts = [[whole.hr for whole in wholes], *([[whole.lr for whole in wholes]] if self.pictures.has_lr else [])]
        self._resident = [Resident(part, device) for part in parts]


def flip_patches(images: Tensor, turn: Tensor) -> Tensor:
    """Each image of `[B, C, N, N]` flipped and transposed by its own `turn` (bits of `Draw`)."""
    for bit, move in enumerate((lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2))):
        chosen = (turn >> bit & 1).bool()[:, None, None, None]
        images = torch.where(chosen, move(images), images)
    return images


class Resident:
    """uint8 pictures `[3, H, W]` of any sizes in one row of bytes on `device`; a batch is one indexing operation."""

    def __init__(self, pictures: Sequence[Tensor], device: torch.device) -> None:
        self.bytes = torch.cat([picture.flatten() for picture in pictures]).to(device)
        starts = np.cumsum([0, *(picture.numel() for picture in pictures)])
        facts = [(start, x.shape[1] * x.shape[2], x.shape[2]) for start, x in zip(starts, pictures, strict=False)]
        self._facts = np.array(facts)  # [N, 3]: its first byte, bytes of a plane, bytes of a line

    def cut(self, index: np.ndarray, corners: np.ndarray, side: int) -> Tensor:
        """`[B, 3, side, side]`: of picture `index[k]` the square below and right of `corners[k]` (row, column)."""
        start, plane, width = self._facts[index].T
        start = start + corners[:, 0] * width + corners[:, 1]
        facts = torch.from_numpy(np.stack([start, plane, width])).to(self.bytes.device)
        start, plane, width = facts[:, :, None, None, None]  # [B, 1, 1, 1] each
        band, line = (torch.arange(n, device=self.bytes.device) for n in (3, side))
        return self.bytes[start + plane * band[:, None, None] + width * line[:, None] + line]


def _cut(pictures: Sequence[Tensor], corners: np.ndarray, side: int, turn: np.ndarray) -> Tensor:
    """uint8 `[B, 3, side, side]`, turned. NumPy slices in a third of the time that PyTorch takes, and turns for nothing."""
    out = np.empty((len(pictures), 3, side, side), dtype=np.uint8)
    for k, (picture, (top, left), bits) in enumerate(zip(pictures, corners.tolist(), turn.tolist(), strict=True)):
        piece = picture.numpy()[:, top : top + side, left : left + side].copy()
        piece = piece[:, :, ::-1] if bits & 1 else piece
        piece = piece[:, ::-1] if bits & 2 else piece
        out[k] = piece.swapaxes(1, 2) if bits & 4 else piece
    return torch.from_numpy(out)
