"""Sets of pictures of any size: listed and checked by their headers first, decoded once, kept while memory allows."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from sr.error import UserError
from sr.image.read import list_images, probe, read, read_rgb
from sr.pair import Raw

MEMORY = 4 << 30  # bytes of decoded pictures that one set may keep


class Pictures(Dataset):
    """HR pictures, with or without their LR counterparts; item `i` is a whole picture as `Raw`, `[C, H, W]`.

    HR is cropped at the bottom and right to a multiple of `scale`, as every protocol of the field does.
    """

    batch = 1  # for evaluation: pictures differ in size
    keep = True  # decoded pictures, for when they are wanted again

    def __init__(self, hr: Sequence[Path], scale: int, lr: Sequence[Path] | None = None) -> None:
        stems = Counter(path.stem for path in hr)
        self.names = [path.stem if stems[path.stem] == 1 else path.name for path in hr]  # a.png beside a.jpg
        self.scale = scale
        self._hr, self._lr = list(hr), list(lr) if lr else None
        self.sizes = [self._size(path) for path in self._hr]  # (H, W), cropped; faults show here, before any training
        self._kept: dict[int, Raw] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return len(self._hr)

    @property
    def has_lr(self) -> bool:
        """Whether LR comes from files as well."""
        return self._lr is not None

    def __getitem__(self, index: int | list[int]) -> Raw:
        if isinstance(index, list):
            return collate([self[i] for i in index])
        if index in self._kept:
            return self._kept[index]
        h, w = self.sizes[index]
        pixels = read(self._hr[index]).pixels[:, :h, :w]
        hr = pixels.expand(3, -1, -1).contiguous()
        raw = Raw(hr, read_rgb(self._lr[index]) if self._lr else None, gray=pixels.shape[0] == 1)
        if not self.keep:
            return raw
        cost = hr.numel() + (raw.lr.numel() if raw.lr is not None else 0)
        if cost <= self._room:
            self._room -= cost
            self._kept[index] = raw
        return raw

    def subset(self, indices: Sequence[int]) -> "Pictures":
        """The pictures of these indices, as a set of their own."""
        lr = [self._lr[i] for i in indices] if self._lr else None
        return Pictures([self._hr[i] for i in indices], self.scale, lr)

    def load(self, *more: "Pictures") -> None:
        """Decode what fits in memory, side by side, with a progress bar; every damaged file is named at once."""
        jobs = [(pictures, index) for pictures in (self, *more) for index in range(len(pictures))]

        def one(job: tuple[Pictures, int]) -> str | None:
            pictures, index = job
            try:
                pictures[index]
            except UserError as error:
                return str(error)
            return None

        with ThreadPoolExecutor() as pool:
            bar = tqdm(pool.map(one, jobs), total=len(jobs), desc="decoding", unit="image", delay=2)
            faults = [fault for fault in bar if fault]
        if faults:
            raise UserError("\n".join(faults))

    def _size(self, path: Path) -> tuple[int, int]:
        h, w, _ = probe(path)
        return h - h % self.scale, w - w % self.scale


def folder(path: Path, scale: int, key: str) -> Pictures:
    """The pictures of one folder; all faults of its files are listed at once."""
    paths, faults = list_images(path, key), []
    for file in paths:
        try:
            probe(file)
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))
    return Pictures(paths, scale)


def collate(items: list[Raw]) -> Raw:
    """Pictures of one size as one batch, `[B, C, H, W]`."""
    lr: Tensor | None = torch.stack([item.lr for item in items]) if items[0].lr is not None else None
    return Raw(torch.stack([item.hr for item in items]), lr, gray=all(item.gray for item in items))
