"""Sets of images of any size: checked by their headers first, decoded once, held in memory or mapped from the cache."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr.data.block import MIN_BLOCK_BYTES, Block, list_shapes
from sr.data.cache import Cache
from sr.data.file_errors import FileError
from sr.data.fixed_lr import FixedLR
from sr.data.headers import find_dtype, read_headers
from sr.data.image_part import (
    Image,
    check_pixels,
    describe_parts,
    find_path,
    name_images,
    read_image_levels,
    shuffle_files,
)
from sr.image.batch import Raw, stack_images
from sr.image.file_format import Header
from sr.runtime.cores import create_thread_pool
from sr.runtime.error import UserError
from sr.runtime.terminal import ProgressBar

DEFAULT_MEMORY = 4e9  # bytes of decoded images that one set may hold
MAX_MAPS = 30_000  # images mapped at once; Linux allows a process 65,530 maps
_LOCK = threading.Lock()  # of the memory that is left for decoded images
Origin = tuple[Image, FixedLR | None]  # where pixels come from: a file or a part of one, and what is made of it
Make = Callable[[], Tensor] | None  # makes or decodes pixels; None: those of a whole file are decoded
ReadPixels = Callable[[Image, FixedLR | None, Make], tuple[Tensor, bool]]  # pixels, and whether they are mapped


class ImageSet(Dataset):
    """HR images, with or without their LR counterparts; item `i` is a whole image as `Raw`, `[C, H, W]`.

    HR is cropped at the bottom and right to a multiple of `scale`, as in every published protocol. A set of up to
    `memory` bytes is held in memory; of a larger one, each image is a view of its entry in `cache`, if there is a cache.

    An image of one plane is shown with three equal channels, unless `is_gray` (the network has one channel) and all images
    of the set have one plane.
    """

    evaluation_batch = 1  # images differ in size
    retain_decoded = True  # False: an image is used once, and decoded again if it is wanted again

    def __init__(
        self,
        hr: Sequence[Image],
        scale: int,
        lr: Sequence[Image] | None = None,
        memory: float = DEFAULT_MEMORY,
        cache: Cache | None = None,
        is_gray: bool = False,
    ) -> None:
        self.scale, self.memory, self.cache = scale, memory, cache
        self._hr, self._lr, self._headers = list(hr), list(lr) if lr else None, read_headers(hr, cache)
        self._fixed_lr: FixedLR | None = None
        self.dtype: torch.dtype = find_dtype(self._hr, self._headers)
        self.is_one_plane = is_gray and all(header.kind == "gray" for header in self._headers)
        self.names = name_images(self._hr)
        self._reset()

    def _reset(self) -> None:
        """Compute the sizes, and drop all decoded images."""
        s = self.scale
        self.sizes = [(x.height - x.height % s, x.width - x.width % s) for x in self._headers]  # (H, W), cropped
        planes = [(1 if x.kind == "gray" else x.channels) + x.has_mask for x in self._headers]
        samples = sum(h * w * count for (h, w), count in zip(self.sizes, planes, strict=True))
        self.bytes = self.dtype.itemsize * samples * (1 + 1 / s**2 * self.has_lr)  # when decoded
        self._decoded: dict[int, Raw] = {}
        self._block: Block | None = None
        self._free = self.memory

    def __len__(self) -> int:
        return len(self._hr)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a loader process that is no fork: it opens its own maps instead of receiving pixels."""
        return self.__dict__ | {"_block": None} | ({"_decoded": {}} if self.is_mapped else {})

    @property
    def has_lr(self) -> bool:
        """True if an image comes with its LR, from a file or made once."""
        return self._lr is not None or self._fixed_lr is not None

    @property
    def is_paired(self) -> bool:
        """True if LR comes from files."""
        return self._lr is not None and isinstance(self._lr[0], Path)

    @property
    def hr_files(self) -> list[Path]:
        """The HR file of each image."""
        return list(map(find_path, self._hr))

    @property
    def groups(self) -> list[str]:
        """The volume or scene that each image is a part of; empty strings for whole files."""
        return ["" if isinstance(image, Path) else image.group for image in self._hr]

    @property
    def files(self) -> list[Path]:
        """All files of the set, each once, HR first."""
        return [*dict.fromkeys(self.hr_files), *(self._lr if self.is_paired else [])]

    @property
    def clips(self) -> list[str]:
        """The clip of each image, if the set is one of clips: a folder of frames."""
        return [str(image.parent) if isinstance(image, Path) else image.group for image in self._hr]

    @property
    def parts(self) -> dict[str, str]:
        """A description of the parts of files that the set consists of, for its fingerprint; empty for whole files."""
        return describe_parts(self._hr)

    @property
    def multi_frame_files(self) -> list[tuple[Path, Header]]:
        """The HR files that hold further frames or pages, which are not read."""
        return [(path, header) for path, header in zip(self.hr_files, self._headers, strict=True) if header.frames > 1]

    @property
    def has_masks(self) -> bool:
        """True if an image may have pixels without data."""
        return any(header.has_mask for header in self._headers)

    @property
    def channels(self) -> int:
        """The number of channels of the images, 3 for gray that is shown with three."""
        return max(header.channels for header in self._headers) if not self.is_one_plane else 1

    @property
    def is_mapped(self) -> bool:
        """True if the set is too large for memory, and is read from the cache."""
        return self.cache is not None and self.retain_decoded and self.bytes > self.memory

    def __getitem__(self, index: int | list[int]) -> Raw:
        if isinstance(index, list):
            return stack_images([self[i] for i in index])
        if index in self._decoded:
            return self._decoded[index]
        return self._open(index, self._read_cached if self.is_mapped else _decode)

    def subset(self, hr: Sequence[Image]) -> "ImageSet":
        """Return these HR images as a set of their own."""
        position = {image: k for k, image in enumerate(self._hr)}
        indices = [position[image] for image in hr]
        part = copy(self)
        part._hr, part._headers = [self._hr[i] for i in indices], [self._headers[i] for i in indices]
        part._lr = [self._lr[i] for i in indices] if self._lr else None
        part.names = [self.names[i] for i in indices]
        part._reset()
        return part

    def add_fixed_lr(self, fixed_lr: FixedLR) -> "ImageSet":
        """Return the same images, each with LR that is made once, from the whole image."""
        part = copy(self)
        part._fixed_lr = fixed_lr
        part._reset()
        return part

    def load(self, *others: "ImageSet") -> None:
        """Decode what fits in memory or is not in the cache, of this set and `others`, in parallel, with a progress bar.

        Raises one `FileError` that names every damaged file.
        """
        sets = list(dict.fromkeys((self, *others)))
        names = [images._open_block() for images in sets]
        jobs = [(images, index) for images in sets for index in range(len(images)) if index not in images._decoded]
        with create_thread_pool() as pool:
            cached = list(pool.map(_open_cached, jobs))  # first, because entries in use are not removed to make room
            missing = [job for job, is_cached in enumerate(cached) if not is_cached]
            missing = shuffle_files(missing, [images._hr[index] for images, index in jobs])
            results = pool.map(lambda job: _try_decode(*jobs[job]), missing)
            bar = ProgressBar(results, total=len(missing), desc="decoding", unit="image", delay=2)
            errors = dict(zip(missing, bar, strict=True))
        if any(errors.values()):
            raise FileError("\n".join(errors[job] for job in sorted(errors) if errors[job]))
        for images, name in zip(sets, names, strict=True):
            images._close_block(name)

    def _open_block(self) -> str | None:
        """Take all images from the cache, as one block. If it is not there, make an empty one and return its name."""
        if self.bytes < MIN_BLOCK_BYTES or self.bytes > self.memory or not self.retain_decoded or self._decoded:
            return None
        shapes = list_shapes(self._headers, self.sizes, self.scale if self.has_lr else None, self._fixed_lr)
        block, name = Block(shapes, self.dtype), self._name_block()
        if name and block.open(self.cache, name):
            for index in range(len(self)):
                self._retain(index, block.get(index))
            return None
        block.allocate()
        self._block = block
        return name

    def _close_block(self, name: str | None) -> None:
        """Store the block, in which all images are decoded now, under `name`, if no file has changed since."""
        if self._block and name is not None and name == self._name_block():
            self._block.store(self.cache, name)
        self._block = None
        if self.cache is not None:
            self.cache.digests.save()

    def name_entries(self) -> list[str]:
        """Return, for the HR of each image, what identifies its pixels in the cache; empty without a cache."""
        return self.cache.name_entries([(find_path(x), _find_kind(x, None)) for x in self._hr]) if self.cache else []

    def _name_block(self) -> str | None:
        """Return what identifies all pixels of the set; None without a cache, or if a file cannot be read."""
        origins = [(find_path(x), _find_kind(x, lr)) for k in range(len(self)) for x, lr in self._list_origins(k)]
        names = self.cache.name_entries(origins) if self.cache else []
        return hashlib.sha256(repr((self.scale, names)).encode()).hexdigest() if names else None

    def _list_origins(self, index: int) -> list[Origin]:
        if self._lr:
            lr: list[Origin] = [(self._lr[index], None)]
        else:
            lr = [(self._hr[index], self._fixed_lr)] if self._fixed_lr else []
        return [(self._hr[index], None), *lr]

    def _open(self, index: int, read_pixels: ReadPixels) -> Raw:
        """Return an image; `read_pixels` gives, for each origin, its pixels, and whether they are mapped.

        A gray image is stored as one plane; its three channels, if it is shown with three, are views of it. Of an image with a
        mask the last plane of HR is the mask.
        """
        header, (h, w) = self._headers[index], self.sizes[index]
        opened: list[tuple[Tensor, bool]] = []
        for file, fixed_lr in self._list_origins(index):
            make: Make = None if isinstance(file, Path) else file.read
            if fixed_lr:
                make = partial(fixed_lr, opened[0][0][: -1 if header.has_mask else None])
            opened.append(read_pixels(file, fixed_lr, make))
            factor = 1 if len(opened) == 1 else self.scale
            check_pixels(find_path(file), opened[-1][0], header.height // factor, header.width // factor, self.dtype)
        pixels, mapped = zip(*opened, strict=True)
        planes = [pixels[0][:, :h, :w], *pixels[1:]]
        if all(mapped):
            return self._retain(index, planes, is_mapped=True)
        planes = [x.contiguous() for x in planes]
        return self._retain(index, self._block.put(index, planes) if self._block else planes)

    def _retain(self, index: int, planes: list[Tensor], is_mapped: bool = False) -> Raw:
        """Return an image of these planes, HR first, and retain it if there is room."""
        header, valid = self._headers[index], None
        if header.has_mask:
            valid, planes[0] = planes[0][-1:].bool(), planes[0][:-1]
        shown = [x if len(x) > 1 or self.is_one_plane else x.expand(3, -1, -1) for x in planes]
        raw = Raw(*shown, gray=len(planes[0]) == 1, valid=valid)
        cost = 0 if is_mapped else sum(x.nbytes for x in planes)
        with _LOCK:
            if self.retain_decoded and cost <= self._free and (cost or len(self._decoded) < MAX_MAPS):
                self._free -= cost
                self._decoded[index] = raw
        return raw

    def _read_cached(self, image: Image, fixed_lr: FixedLR | None, make: Make) -> tuple[Tensor, bool]:
        """Return pixels from the cache, in which they are stored if they were not; a `ReadPixels`."""
        return self.cache.pixels(find_path(image), _find_kind(image, fixed_lr), make)


def _find_kind(image: Image, fixed_lr: FixedLR | None) -> object:
    """Return what identifies pixels, by its repr, among all that are made of a file; None: the decoded file."""
    return fixed_lr if isinstance(image, Path) else (image.key, fixed_lr)


def _decode(image: Image, fixed_lr: FixedLR | None, make: Make) -> tuple[Tensor, bool]:
    """Decode or make pixels in memory; a `ReadPixels` that uses no cache."""
    return (make() if make else read_image_levels(image)), False


def _open_cached(job: tuple[ImageSet, int]) -> bool:
    """Open an image from the cache, and return whether it is there."""
    images, index = job
    if not images.is_mapped:
        return False
    origins = images._list_origins(index)
    cached = {origin: images.cache.find(find_path(origin[0]), _find_kind(*origin)) for origin in origins}
    if any(pixels is None for pixels in cached.values()):
        return False
    images._open(index, lambda image, fixed_lr, make: (cached[image, fixed_lr], True))
    return True


def _try_decode(images: ImageSet, index: int) -> str | None:
    """Decode an image; return the error message if it is damaged."""
    try:
        images[index]
    except UserError as error:
        return str(error)
    return None
