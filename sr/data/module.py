"""What every `data=…` has in common: named evaluation sets, loaders, and the way from bytes to `Pair` on the device.

A source adds two things: `training()`, a set that turns a `Draw` into `Raw`, and `held_out(stage)`, its own
evaluation set. HR travels as uint8; turning, graying, degrading and what `augment` adds are done for the whole batch
on the device. Of several processes (DDP) each loads its share. Loaders draw nothing from the model's chance: each has a
generator of its own, else an epoch that begins would be seen in the noise that follows, and one that is resumed in other.
"""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset
from tqdm import tqdm

from sr.data.cache import Cache
from sr.data.fixed_lr import FixedLR
from sr.data.image_set import ImageSet
from sr.data.known_leaks import Leak, find_known_leaks
from sr.data.patches import START, Patches, PatchSampler
from sr.data.prefetch import Prefetcher
from sr.image.batch import Pair, Raw
from sr.image.color import rgb_to_gray
from sr.image.read import list_images
from sr.metric.ssim import WINDOW_SIZE
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.signals import ignore_signals

GB = 1e9
RESIDENT = 0.25  # of a GPU's free memory that a training set may take


class SRDataModule(LightningDataModule):
    """The base of all sources.

    `val` and `test` name evaluation sets: the source's own `name`, or a folder `root/NAME` (a path works as well)
    holding `HR/*.png` or the pictures themselves. `batch` counts patches, `workers` loader processes. A set of up to
    `memory` GB of decoded pictures stays in memory; a larger one is read from the folder `cache`, which keeps up to
    `disk` GB. `augment` holds what is done to training batches by chance: `(pair, generator) -> pair`, in this order.
    """

    name = ""  # of the source's own evaluation set; empty: it has none

    def __init__(
        self,
        *,
        scale: int,
        color: str,
        seed: int,
        root: str,
        degrade: Callable[[Tensor], Tensor],
        val: Sequence[str],
        test: Sequence[str],
        batch: int = 16,
        repeat: int = 1,
        workers: int = 0,
        augment: Mapping[str, Callable[[Pair, torch.Generator], Pair]] | None = None,
        memory: float = 4,
        cache: str | None = None,
        disk: float = 100,
    ) -> None:
        super().__init__()
        self.scale, self.color, self.seed, self.root = scale, color, seed, Path(root)
        self.degrade = degrade
        self.sets = {"val": list(val), "test": list(test)}
        self.batch, self.repeat, self.workers = batch, repeat, workers
        self.augment = dict(augment or {})
        for key, value in (("memory", memory), ("disk", disk)):
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise UserError(f"data.{key}={value}: expected a number of GB, 0 or more")
        self.memory, self.cache = memory * GB, Cache(Path(cache), disk * GB) if cache else None
        self.select_channels: Callable[[Tensor, bool], Tensor] = lambda hr, gray: (
            hr
        )  # of whole pictures: `Protocol.view`
        self.position = START  # where a training that is resumed was
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer pictures than processes
        self.train_set: Dataset | None = None
        self.eval_sets: dict[str, list[Any]] = {}

    def build_training_set(self) -> Dataset | None:
        """The training set, or None for a source that only measures."""
        raise NotImplementedError

    def build_held_out_set(self, stage: str) -> Dataset:
        """The source's own evaluation set of `stage` (val or test): `names`, and whole pictures as items."""
        raise NotImplementedError

    def open_images(self, hr: Sequence[Path], lr: Sequence[Path] | None = None) -> ImageSet:
        """A set of these files, checked by their headers; kept where this source keeps its pictures."""
        return ImageSet(hr, self.scale, lr, self.memory, self.cache)

    def build_patches(self, pictures: ImageSet, patch: int) -> Patches:
        """The training set of these pictures. What a fixed degradation makes of them is made once, as the field does;
        any other works on each batch of patches, on the device.
        """
        if getattr(self.degrade, "fixed", False) and not pictures.has_lr:
            pictures = pictures.add_fixed_lr(FixedLR(self.degrade, self.scale, self.color == "gray"))
        return Patches(pictures, patch)

    def setup(self, stage: str | None = None) -> None:
        """Find and check all pictures of the stage (fit, validate or test); done once, whoever calls."""
        if stage in ("fit", None) and self.train_set is None:
            self.train_set = self.build_training_set()
        for part in ("test",) if stage == "test" else ("val",):
            if part not in self.eval_sets:
                self.eval_sets[part] = [self._named(name, part) for name in self.sets[part]]

    def set_name(self, part: str, index: int) -> str:
        """The name of an evaluation set as it stands in metrics: a path gives its last folder."""
        name = self.sets[part][index]
        return name if name == self.name else Path(name).name

    @property
    def training_name(self) -> str:
        """The name of the training set."""
        return self.name

    def train_dataloader(self) -> DataLoader:
        world, rank = self._share()
        steps = self.trainer.accumulate_grad_batches if self.trainer else 1  # an epoch is of whole steps
        draws = PatchSampler(len(self.train_set), self.batch, self.repeat, self.seed, world, rank, steps, self.position)
        resident = self._reside()
        kind = DataLoader if self.workers or resident else Prefetcher
        return kind(
            self.train_set,
            sampler=draws,
            batch_size=None,  # a draw already is a batch
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=ignore_signals,
            pin_memory=not resident and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
        )

    def val_dataloader(self) -> list[DataLoader]:
        return self._eval_loaders("val")

    def test_dataloader(self) -> list[DataLoader]:
        return self._eval_loaders("test")

    def on_after_batch_transfer(self, batch: Raw | None, dataloader_idx: int) -> Pair | None:
        if batch is None:
            return None
        hr, lr = batch.hr, batch.lr
        if self.color == "gray":
            hr, lr = rgb_to_gray(hr), rgb_to_gray(lr) if lr is not None else None
        if batch.seed is None:  # whole pictures, to be measured
            hr, lr = (
                self.select_channels(hr, batch.gray),
                self.select_channels(lr, batch.gray) if lr is not None else None,
            )
        if lr is None:
            lr = self.degrade(hr) if getattr(self.degrade, "fixed", True) else self.degrade(hr, draw_seeds(batch))
        pair = Pair(*(image.to(hr.dtype) / 255 for image in (lr, hr)))  # bytes give float32
        if batch.seed is not None and self.augment:
            chance = torch.Generator().manual_seed(batch.seed)
            for augment in self.augment.values():
                pair = augment(pair, chance)
        return pair

    def find_leaks(self) -> list[Leak]:
        """Training pictures that are known to stand in one of the field's evaluation sets, named here or not."""
        pictures = getattr(self.train_set, "pictures", None)
        if pictures is None:
            return []
        names = tqdm(pictures.names, desc="known leaks", unit="image", delay=2)
        return find_known_leaks((name, pictures[k].hr) for k, name in enumerate(names))

    def describe_lr(self, part: str, index: int) -> str:
        """Where an evaluation set's LR pictures come from: files, or the degradation."""
        return "files" if getattr(self.eval_sets[part][index], "has_lr", False) else repr(self.degrade)

    def _share(self) -> tuple[int, int]:
        """How many processes train together, and which of them this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _reside(self) -> bool:
        """Whether the training set is on the GPU, where it is taken if it is in memory and fits."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        mapped = getattr(getattr(self.train_set, "pictures", None), "is_mapped", False)
        if device.type != "cuda" or self.workers or mapped or not hasattr(self.train_set, "reside"):
            return False
        size = getattr(self.train_set, "pictures", self.train_set).bytes
        if size > min(self.memory, RESIDENT * torch.cuda.mem_get_info(device)[0]):
            return False
        self.train_set.reside(device)
        return True

    def _eval_loaders(self, part: str) -> list[DataLoader]:
        """Each process measures pictures that stand side by side: gathered by rank, they are in the set's order. One that
        gets none of any set has a batch that is None."""
        world, rank = self._share()
        sets, loaders = self.eval_sets[part], []
        for chosen in sets:
            chance = torch.Generator().manual_seed(self.seed)
            batches = BatchSampler(select_shard(len(chosen), world, rank), chosen.batch, False)
            loaders.append(DataLoader(chosen, sampler=batches, batch_size=None, generator=chance))
        if loaders and not any(map(len, loaders)):  # Lightning would skip it all, and others wait for its share
            loaders[0] = DataLoader([None], batch_size=None)
        return loaders

    def draw_example(self) -> Pair:
        """The first training batch, on the CPU."""
        loader = self.train_dataloader()
        pair = self.on_after_batch_transfer(loader.dataset[next(iter(loader.sampler))], 0)
        return Pair(*(image.cpu() for image in pair))

    def _named(self, name: str, part: str) -> Dataset:
        key = f"data.{part}"
        if name == self.name:
            return self.build_held_out_set(part)
        chosen = self.open_images(list_images(hr_folder(find_set(self.root, name, key, self.name)), key))
        check_sizes(chosen, f"{key}={name}")
        return chosen


def draw_seeds(batch: Raw) -> Tensor:
    """A seed for each image of a batch, int64 `[B]`, of what a random degradation does to it.

    In training, of the batch's seed and the image's place in it. A picture to be measured has the same one in every
    run, process and order, for it is made of the picture's own bytes.
    """
    if batch.seed is None:
        return torch.tensor([zlib.crc32(hr.cpu().contiguous().numpy()) for hr in batch.hr])
    words = np.random.SeedSequence(batch.seed).generate_state(len(batch.hr), np.uint64)
    return torch.from_numpy((words >> np.uint64(1)).astype(np.int64))


def select_shard(n: int, world: int, rank: int) -> range:
    """Which of `n` pictures process `rank` of `world` has: a run of them, rank 0 the first."""
    return range(-(-n * rank // world), -(-n * (rank + 1) // world))


def find_set(root: Path, name: str, key: str, own: str = "") -> Path:
    """The folder of the set `name`: `root/NAME`, or a path. `key` is the dial that named it, `own` another right word."""
    path = root / name if (root / name).is_dir() else Path(name).expanduser()
    if not path.is_dir():
        expected = f'"{own}" or a folder' if own else "a folder"
        there = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        raise UserError(
            f"{key}={name}: expected {expected}. Put its HR images into {root / name / 'HR'}, "
            f"or say where your sets are: paths.data=FOLDER or the variable SR_DATA.{suggest_nearest(name, there)}"
        )
    return path


def hr_folder(path: Path) -> Path:
    """Where a set's HR images lie: in `HR`, or in its folder itself."""
    return path / "HR" if (path / "HR").is_dir() else path


def check_sizes(pictures: ImageSet, key: str) -> None:
    """Raise where a picture, less its border, is smaller than SSIM's window; `key` is the dial that named the set."""
    s = pictures.scale
    for image, (h, w) in zip(pictures.names, pictures.sizes, strict=True):
        if min(h, w) < WINDOW_SIZE + 2 * s:
            raise UserError(f"{key}: image {image} ({w}×{h}) is too small to be measured at scale {s}")


def split_held_out(count: int, every: int = 10, most: int = 20) -> tuple[list[int], list[int]]:
    """Indices (training, held out) of a folder: every tenth picture is held out, one at least, twenty at most."""
    held = list(range(0, count, every))[:most]
    return [i for i in range(count) if i not in set(held)], held
