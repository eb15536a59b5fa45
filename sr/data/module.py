"""The base class of every data source: opens the images that the source finds, and serves them as batches.

Files are decoded to uint8 or uint16 and cut into patches on the CPU; flipping, conversion to gray, degradation and
augmentation are done for the whole batch on the device (`sr.data.prepare`). Of several processes (DDP) each loads its
share.

Loaders draw no numbers from the global random state: each has a generator of its own. Otherwise the start of an epoch
would change the noise that is drawn after it, and a resumed run would differ from an uninterrupted one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.utils.data import DataLoader

from sr.data.cache import Cache
from sr.data.evaluation_set import (
    check_depth,
    check_frames,
    check_sizes,
    describe_small_evaluation_image,
    find_set,
    list_hr_files,
    report_further_frames,
    smallest_side,
)
from sr.data.file_errors import CheckSize, FileError, complete_error
from sr.data.fixed_lr import FixedLR
from sr.data.frame_order import check_frame_order
from sr.data.image_part import Image
from sr.data.image_set import ImageSet
from sr.data.matching import match_files
from sr.data.patches import START, Patches, PatchSampler, describe_small_image
from sr.data.prefetch import Prefetcher
from sr.data.prepare import Augmentation, Degradation, build_pair
from sr.data.sharding import build_evaluation_loaders, select_shard
from sr.data.source import DataSource, ImageFiles, Split
from sr.data.tile_set import TileSet
from sr.image.batch import Pair, Raw
from sr.image.levels import count_bits
from sr.metric.protocol import Protocol
from sr.runtime.error import UserError
from sr.runtime.option_types import NonEmptyStr, NonNegativeFloat, NonNegativeInt, PathStr, PositiveInt
from sr.runtime.signals import ignore_signals

GB = 1e9
MAX_ORIENTED_BYTES = 320e6  # of a training set and its copies in each orientation
MAX_GPU_SHARE = 0.25  # of a GPU's free memory that a training set may take


class SRDataModule(DataSource):
    """Serves the images of `find_images`, the one method that a data source has to implement, in batches.

    Its methods have the names under which Lightning calls them (`sr.trainer.adapter`).

    Its arguments are the options of `data` in the config:

    * `scale`, `color`, `seed`: those that all parts share; `root`: the folder of named sets, `paths.data`.
    * `degrade`: makes LR from HR (`sr.data.prepare.Degradation`), for images without LR files.
    * `val`, `test`: names of evaluation sets: the source's own `name`, or a folder `root/NAME` (a path works as well) that
      holds `HR/*.png` or the images themselves.
    * `batch`: patches per batch, `patch`: their side in HR pixels, `repeat`: patches of each image per epoch,
      `workers`: loader processes, `augment`: random changes of training batches, in this order.
    * `memory`: GB of decoded images that a set may hold in memory; a larger one is read from the folder `cache`, which may
      take `disk` GB.
    """

    def __init__(
        self,
        *,
        scale: int,
        color: str,
        seed: int,
        root: PathStr,
        degrade: Degradation,
        val: Sequence[NonEmptyStr],
        test: Sequence[NonEmptyStr],
        batch: PositiveInt = 16,
        patch: PositiveInt = 96,
        repeat: Annotated[int, Interval(ge=1, le=1_000_000)] = 1,
        workers: NonNegativeInt = 0,
        augment: Mapping[str, Augmentation] | None = None,
        memory: NonNegativeFloat = 4,
        cache: PathStr | None = None,
        disk: NonNegativeFloat = 100,
    ) -> None:
        self.trainer: Any = None  # Lightning's, of a training (sr.trainer.adapter)
        self.scale, self.color, self.seed, self.root = scale, color, seed, Path(root)
        self.degrade, self.augment = degrade, dict(augment or {})
        self.sets: dict[Split, list[str]] = {"val": list(val), "test": list(test)}
        self.batch, self.patch, self.repeat, self.workers = batch, patch, repeat, workers
        self.memory, self.cache = memory * GB, Cache(Path(cache), disk * GB) if cache else None
        self.position = START  # where the training that is resumed was interrupted
        self.train_set: Patches | TileSet | None = None
        self.depth: int | None = None  # bits per channel of evaluation sets; None: any
        self.needs_order = False  # True: a metric compares each frame of a clip with the one before it
        self.eval_sets: dict[Split, list[ImageSet | TileSet]] = {}
        self._own_sets: dict[Split, ImageSet | TileSet | None] = {}

    @staticmethod
    def select_channels(images: Tensor, is_gray: bool) -> Tensor:
        """Return whole images as the protocol evaluates them; `set_protocol` replaces it."""
        return images

    def set_protocol(self, protocol: Protocol) -> None:
        """Prepare whole images as a protocol evaluates them, and raise for sets of another depth when they are opened."""
        self.select_channels, self.depth = protocol.select_channels, protocol.depth
        self.needs_order = protocol.needs_previous

    # Sets

    def prepare_data(self) -> None:
        """Download what is missing; in one process only."""

    def setup(self, stage: str | None = None) -> None:
        """Find, open and check the images of a stage (fit, validate or test), unless that has been done before."""
        split: Split = "test" if stage == "test" else "val"
        try:
            if stage in ("fit", None) and self.train_set is None:
                self.train_set = self._open_training_set()
            if split not in self.eval_sets:
                self.eval_sets[split] = [self._open_evaluation_set(name, split) for name in self.sets[split]]
        except FileError as error:
            raise complete_error(error, self._list_size_checks(split, with_training=stage in ("fit", None))) from None

    def set_name(self, split: Split, index: int) -> str:
        """Return the name of an evaluation set in metrics: of a path, its last folder."""
        name = self.sets[split][index]
        return name if name == self.name else Path(name).name

    def list_set_names(self, split: Split) -> list[str]:
        """Return the names of all evaluation sets in metrics; known before the sets are opened."""
        return [self.set_name(split, index) for index in range(len(self.sets[split]))]

    def describe_lr(self, split: Split, index: int) -> str:
        """Return where the LR of an evaluation set comes from: `files`, or the degradation, `Bicubic(scale=2, …)`.

        It is stored in results and compared with `Protocol.standard_lr`.
        """
        return "files" if getattr(self.eval_sets[split][index], "is_paired", False) else repr(self.degrade)

    def find_clip(self, split: Split, index: int, batch: int) -> str | None:
        """Return the clip of the frame that is a batch of this process; None for sets that have no clips."""
        images = self.eval_sets[split][index]
        position = select_shard(len(images), *self._get_world())[batch]
        return images.clips[position] if isinstance(images, ImageSet) else None

    def find_set(self, name: str, option: str) -> Path:
        """Return the folder of the evaluation set `name`, which `option` names."""
        return find_set(self.root, name, option, self.name)

    def find_set_images(self, folder: Path, option: str) -> ImageFiles:
        """Return the images of the evaluation set in `folder`, which `option` names."""
        return ImageFiles(list_hr_files(folder, option))

    def _open_training_set(self) -> Patches | TileSet | None:
        """Open the training set, and decode it together with the source's own evaluation sets.

        The LR of a fixed degradation is made once, from whole images, as is usual; any other degradation is applied to
        each batch of patches, on the device.
        """
        images = self._open_own_set("train")
        if not isinstance(images, ImageSet):
            return images
        if getattr(self.degrade, "fixed", False) and not images.has_lr:
            images = images.add_fixed_lr(FixedLR(self.degrade, self.scale, self.color == "gray", images.channels))
        patches = Patches(images, self.patch)
        held_out = [s for split, s in self._own_sets.items() if split != "train" and isinstance(s, ImageSet)]
        held_out = list(dict.fromkeys(held_out))  # the validation and the test set may be one object
        for evaluation_set in held_out:
            check_sizes(evaluation_set)
        images.load(*held_out)
        patches.find_valid_corners()
        report_further_frames([images, *held_out])
        return patches

    def _open_evaluation_set(self, name: str, split: Split) -> ImageSet | TileSet:
        option = f"data.{split}={name}"
        if name == self.name:
            images = self._open_own_set(split)
            if not images:
                raise UserError(
                    f"{option}: this source has no image to hold out for it. Add images to the source, or evaluate on "
                    f"another set: data.{split}=[Set5]"
                )
        else:
            folder = self.find_set(name, f"data.{split}")
            images = self._open_files(self.find_set_images(folder, f"data.{split}"))
            check_frames(images.multi_frame_files, option)
        if isinstance(images, ImageSet):
            check_depth(images, self.depth or count_bits(images.dtype), option)
            check_sizes(images)
            if self.needs_order:
                check_frame_order(images.hr_files, option)
            images.load()  # a damaged image must not be found after the training
            if name == self.name and self.train_set is None:
                report_further_frames([images])
        return images

    def _list_size_checks(self, split: Split, with_training: bool) -> dict[Image, CheckSize]:
        """Return all images that a stage uses, with the check that each has to pass."""

        def check_patch(path: Path, size: tuple[int, int]) -> str:
            return describe_small_image(path, size, self.patch) if min(size) < self.patch else ""

        def check_evaluation(path: Path, size: tuple[int, int]) -> str:
            size = tuple(n - n % self.scale for n in size)
            is_small = min(size) < smallest_side(self.scale)
            return describe_small_evaluation_image(path, size, self.scale) if is_small else ""

        checks: dict[Image, CheckSize] = {}
        own: list[Split] = ["train"] * with_training + [x for x, names in self.sets.items() if self.name in names]
        for part in own:
            files = self.find_images(part)
            if isinstance(files, ImageFiles):
                checks |= dict.fromkeys(files.lr or (), lambda path, size: "")
                checks |= dict.fromkeys(files.hr, check_patch if part == "train" else check_evaluation)
        for name in self.sets[split]:
            if name != self.name:
                folder = self.find_set(name, f"data.{split}")
                checks |= dict.fromkeys(self.find_set_images(folder, f"data.{split}").hr, check_evaluation)
        return checks

    def _open_own_set(self, split: Split) -> ImageSet | TileSet | None:
        """Open the source's own set of `split`. Sets of files are opened together: all damaged files are reported at
        once, and the names of images are unique over all of them."""
        if split not in self._own_sets:
            found = self.find_images(split)
            if isinstance(found, ImageFiles):
                self._own_sets |= self._open_own_files()
            else:
                self._own_sets[split] = None if found is None else TileSet(found, self.scale)
        return self._own_sets[split]

    def _open_own_files(self) -> dict[Split, ImageSet]:
        """Open the training set and the own evaluation sets that data.val and data.test name."""
        splits: list[Split] = ["train", *(split for split, names in self.sets.items() if self.name in names)]
        found = {split: self.find_images(split) for split in splits}
        files = {split: images for split, images in found.items() if isinstance(images, ImageFiles)}
        hr = list(dict.fromkeys(path for images in files.values() for path in images.hr))
        lr = list(dict.fromkeys(path for images in files.values() for path in images.lr or ()))
        whole = self._open_files(ImageFiles(hr, lr or None))
        subsets: dict[tuple[Image, ...], ImageSet] = {}  # the validation and test set may be the same
        for images in files.values():
            subsets.setdefault(tuple(images.hr), whole.subset(images.hr))
        return {split: subsets[tuple(images.hr)] for split, images in files.items()}

    def _open_files(self, files: ImageFiles) -> ImageSet:
        hr, lr = (files.hr, None) if files.lr is None else match_files(files.hr, files.lr, self.scale)
        return ImageSet(hr, self.scale, lr, self.memory, self.cache, self.color in ("gray", "bands"))

    # Loaders

    def train_dataloader(self) -> DataLoader:
        world, rank = self._get_world()
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1  # an epoch ends with a whole step
        sampler = PatchSampler(
            len(self.train_set), self.batch, self.repeat, self.seed, world, rank, accumulated, self.position
        )
        on_gpu = self._move_training_set_to_gpu()
        if not self.workers and not on_gpu:
            self._orient_training_set()
        loader_class = DataLoader if self.workers or on_gpu else Prefetcher
        return loader_class(
            self.train_set,
            sampler=sampler,
            batch_size=None,  # an item of the sampler is a whole batch
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=ignore_signals,
            pin_memory=not on_gpu and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
        )

    def val_dataloader(self) -> list[DataLoader]:
        return build_evaluation_loaders(self.eval_sets["val"], self.seed, *self._get_world())

    def test_dataloader(self) -> list[DataLoader]:
        return build_evaluation_loaders(self.eval_sets["test"], self.seed, *self._get_world())

    def on_after_batch_transfer(self, batch: Raw | None, dataloader_idx: int) -> Pair | None:
        if batch is None:
            return None
        return build_pair(batch, self.color == "gray", self.degrade, self.select_channels, self.augment.values())

    def draw_example(self) -> Pair:
        """Return the first training batch, contiguous, on the CPU."""
        loader = self.train_dataloader()
        pair = self.on_after_batch_transfer(loader.dataset[next(iter(loader.sampler))], 0)
        return Pair(*(image.cpu().contiguous() for image in pair))

    def _get_world(self) -> tuple[int, int]:
        """Return the number of processes that train together, and the rank of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _move_training_set_to_gpu(self) -> bool:
        """Move the training set to the GPU, if it is in memory and small enough; return whether it is there."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda" or self.workers or self.train_set.is_mapped:
            return False
        if self.train_set.bytes > min(self.memory, MAX_GPU_SHARE * torch.cuda.mem_get_info(device)[0]):
            return False
        self.train_set.move_to(device)
        return True

    def _orient_training_set(self) -> None:
        """Copy a small training set in each orientation, so that batches are cut in less time.

        What else happens to a batch is done on contiguous images: its random numbers and last bits depend on their layout.
        """
        limit = min(self.memory, MAX_ORIENTED_BYTES)
        if isinstance(self.train_set, Patches) and self.train_set.bytes + self.train_set.oriented_bytes <= limit:
            is_ready = self.color in ("rgb", "bands") and self.train_set.images.has_lr and not self.augment
            self.train_set.orient(torch.channels_last if is_ready else torch.contiguous_format)
