"""Training patches. All random numbers are drawn in the sampler, from (seed, epoch, index) alone, and travel with the
order: so the order, place and orientation of every patch are the same with any number of workers, and in a repeated run.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sr.config.command_line import format_value
from sr.data.file_errors import FileError
from sr.data.image_set import ImageSet
from sr.data.oriented_images import COPIES, OrientedImages
from sr.data.valid_corners import ValidCorners
from sr.image.batch import Raw
from sr.runtime.error import UserError

MASK_MARGIN = 3  # LR pixels between a patch and pixels without data: LR depends on them up to there


class PatchDraw(NamedTuple):
    """The random numbers that determine one batch."""

    index: np.ndarray  # int64 [B]: of the image
    place: np.ndarray  # float64 [B, 2], 0…1: position in the image (row, column)
    turn: np.ndarray  # uint8 [B], 0…7: bit 0 flips left-right, bit 1 up-down, bit 2 transposes
    seed: int = 0  # for the random degradation and augmentation of the batch


class DataPosition(NamedTuple):
    """The point at which a training was interrupted."""

    epoch: int
    batches: int  # of that epoch


START = DataPosition(0, 0)


class PatchSampler(Sampler[PatchDraw]):
    """An epoch shows each of `n` images `repeat` times, in batches; a last, smaller batch is left out.

    Each of `world` processes gets its part of every batch: together they see what one process would see with a batch
    `world` times as large, in that order. The length of an epoch is a multiple of `steps` batches. The first epoch is that
    of `seen`, without the batches that the interrupted training has seen.
    """

    def __init__(
        self, n: int, batch: int, repeat: int, seed: int, world: int = 1, rank: int = 0, steps: int = 1,
        seen: DataPosition = START,
    ) -> None:  # fmt: skip
        self.n, self.batch, self.repeat, self.seed, self.steps = n, batch, repeat, seed, steps
        self.epoch, self._batches_to_skip = seen
        self.world, self.rank = world, rank

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = self.n * self.repeat // (self.batch * self.world)
        return max(self.steps, whole // self.steps * self.steps)

    def __iter__(self) -> Iterator[PatchDraw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        count = len(self) * self.batch * self.world
        indices = np.resize(np.tile(np.arange(self.n), self.repeat), max(count, self.n * self.repeat))
        order = rng.permutation(indices)[:count]
        place = rng.random((count, 2))
        turn = rng.integers(0, 8, count, dtype=np.uint8)
        seeds = rng.integers(0, 2**63, count // self.batch).tolist()
        first, self._batches_to_skip = self._batches_to_skip % len(self), 0
        for k in range(self.rank + first * self.world, count // self.batch, self.world):
            part = slice(k * self.batch, (k + 1) * self.batch)
            yield PatchDraw(order[part], place[part], turn[part], seeds[k])


class Patches(Dataset):
    """Square HR patches `[B, C, patch, patch]` and, if the images have LR, their LR patches: `PatchDraw` -> `Raw`.

    No patch has pixels without data.
    """

    def __init__(self, images: ImageSet, patch: int) -> None:
        s = images.scale
        if patch % s:
            raise UserError(f"data.patch={patch}: expected a multiple of scale={s}; it is in HR pixels")
        sizes = zip(images.hr_files, images.sizes, strict=True)
        errors = [describe_small_image(path, size, patch) for path, size in sizes if min(size) < patch]
        if errors:
            raise FileError("\n".join(errors))
        self.images, self.patch = images, patch
        self._positions = (np.array(images.sizes) - patch) // s + 1  # [N, 2]: rows and columns, in LR pixels
        self._whole: list[DeviceImages | OrientedImages] = []  # of HR and LR, if batches are cut by one operation
        self._valid_corners: dict[int, ValidCorners] = {}  # of images with a mask, by their numbers

    def find_valid_corners(self) -> None:
        """Find where patches can be cut out of images with a mask. Raise one `FileError` for those that have no place."""
        s, errors = self.images.scale, []
        for k in range(len(self) if self.images.has_masks else 0):
            valid = self.images[k].valid
            if valid is not None and not valid.all():
                self._valid_corners[k] = ValidCorners(valid[0].numpy(), self.patch, s, MASK_MARGIN * s)
                if not len(self._valid_corners[k]):
                    errors.append(
                        f"{self.images.hr_files[k]}: data.patch={self.patch}: no square of this side has data everywhere; "
                        "lower it, or remove the image"
                    )
        if errors:
            raise FileError("\n".join(errors))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def files(self) -> list[Path]:
        """All files of the set, HR first."""
        return self.images.files

    @property
    def is_paired(self) -> bool:
        """True if LR comes from files."""
        return self.images.is_paired

    @property
    def is_mapped(self) -> bool:
        """True if the images are too large for memory, and are read from the cache."""
        return self.images.is_mapped

    @property
    def bytes(self) -> float:
        """The memory that all decoded images take."""
        return self.images.bytes

    def __getitem__(self, draw: PatchDraw) -> Raw:
        s, p = self.images.scale, self.patch
        corners = (draw.place * self._positions[draw.index]).astype(np.int64)  # [B, 2], in LR pixels
        for k, index in enumerate(draw.index.tolist() if self._valid_corners else ()):
            if index in self._valid_corners:
                corners[k] = self._valid_corners[index].find(draw.place[k])
        if self._whole:
            cut = [x.cut(draw.index, zoom * corners, draw.turn) for x, zoom in zip(self._whole, (s, 1), strict=False)]
            return Raw(*cut, seed=draw.seed)
        whole = [self.images[k] for k in draw.index.tolist()]
        hr = _cut_patches([image.hr for image in whole], s * corners, p, draw.turn)
        lr = _cut_patches([image.lr for image in whole], corners, p // s, draw.turn) if self.images.has_lr else None
        return Raw(hr, lr, seed=draw.seed)

    def move_to(self, device: torch.device) -> None:
        """Copy all images to `device`, and cut patches there; for a set that is in memory."""
        self._store_whole(partial(DeviceImages, device=device))

    @property
    def oriented_bytes(self) -> float:
        """The memory that `orient` takes; a gray image that is shown with three channels has three there."""
        pixels = sum(height * width for height, width in self.images.sizes) * (
            1 + self.images.has_lr / self.images.scale**2
        )
        return COPIES * len(self.images[0].hr) * self.images.dtype.itemsize * pixels

    def orient(self, memory_format: torch.memory_format) -> None:
        """Copy all images in each orientation, and cut patches of this memory format; for a small set."""
        if not self._whole:
            self._store_whole(partial(OrientedImages, memory_format=memory_format))

    def _store_whole(self, store: Callable[..., "DeviceImages | OrientedImages"]) -> None:
        s, p = self.images.scale, self.patch
        whole = [self.images[k] for k in range(len(self))]
        self._whole = [store([image.hr for image in whole], side=p)]
        if self.images.has_lr:
            self._whole.append(store([image.lr for image in whole], side=p // s))


def describe_small_image(path: Path, size: tuple[int, int], patch: int) -> str:
    """Return the error about an image of `size` (H, W) that is smaller than a patch."""
    return (
        f"{path}: {size[1]}×{size[0]} pixels, but data.patch={patch} is larger than that; lower it, or remove the image "
        f"(data=folder: data.exclude={format_value([path.stem])})"
    )


def flip_patches(images: Tensor, turn: Tensor) -> Tensor:
    """Flip and transpose each image of `[B, C, N, N]` by its own `turn` (bits as in `PatchDraw`)."""
    for bit, move in enumerate((lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2))):
        mask = (turn >> bit & 1).bool()[:, None, None, None]
        images = torch.where(mask, move(images), images)
    return images


class DeviceImages:
    """Images `[C, H, W]` of any sizes and one depth, concatenated on `device`; one indexing operation cuts a batch."""

    def __init__(self, images: Sequence[Tensor], side: int, device: torch.device) -> None:
        self.side, self.dtype = side, images[0].dtype
        samples = torch.cat([image.flatten() for image in images])
        # PyTorch has no indexing and flipping of uint16 everywhere.
        self.samples = (samples.view(torch.int16) if samples.dtype == torch.uint16 else samples).to(device)
        self.channels = images[0].shape[0]
        starts = np.cumsum([0, *(image.numel() for image in images)])
        layout = [(start, x.shape[1] * x.shape[2], x.shape[2]) for start, x in zip(starts, images, strict=False)]
        self._layout = np.array(layout)  # [N, 3]: offset of the image, samples of a plane, of a row

    def cut(self, index: np.ndarray, corners: np.ndarray, turn: np.ndarray) -> Tensor:
        """Cut `[B, C, side, side]`: from image `index[k]` the square below and right of `corners[k]`, flipped by `turn[k]`."""
        start, plane, width = self._layout[index].T
        start = start + corners[:, 0] * width + corners[:, 1]
        offsets = torch.from_numpy(np.stack([start, plane, width])).to(self.samples.device)
        start, plane, width = offsets[:, :, None, None, None]  # [B, 1, 1, 1] each
        channel, pixel = (torch.arange(n, device=self.samples.device) for n in (self.channels, self.side))
        patches = self.samples[start + plane * channel[:, None, None] + width * pixel[:, None] + pixel]
        return flip_patches(patches, torch.from_numpy(turn).to(patches.device)).view(self.dtype)


def _cut_patches(images: Sequence[Tensor], corners: np.ndarray, side: int, turn: np.ndarray) -> Tensor:
    """Cut and flip `[B, C, side, side]`. NumPy slices in a third of PyTorch's time, and writes into a flipped view."""
    out = torch.empty(len(images), images[0].shape[0], side, side, dtype=images[0].dtype)
    for patch, image, (top, left), bits in zip(out.numpy(), images, corners.tolist(), turn.tolist(), strict=True):
        place = patch.swapaxes(1, 2) if bits & 4 else patch
        place = place[:, :: -1 if bits & 2 else 1, :: -1 if bits & 1 else 1]
        place[:] = image.numpy()[:, top : top + side, left : left + side]
    return out
