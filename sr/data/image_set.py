"""Sets of images of any size: checked by their headers first, decoded once, held in memory or mapped from the cache."""

import os
import random
import threading
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

from sr.data.cache import Cache
from sr.data.file_errors import FileError
from sr.data.fixed_lr import FixedLR
from sr.image.batch import Raw
from sr.image.file_format import Header
from sr.image.levels import WHITE, count_bits
from sr.image.read import probe, read_levels
from sr.runtime.error import UserError
from sr.runtime.terminal import ProgressBar

DEFAULT_MEMORY = 4e9  # bytes of decoded images that one set may hold
MAX_MAPS = 30_000  # images mapped at once; Linux allows a process 65,530 maps
_LOCK = threading.Lock()  # of the memory that is left for decoded images
Origin = tuple[Path, FixedLR | None]  # where pixels come from: a file, and what is made of it
ReadPixels = Callable[[Path, FixedLR | None, Callable[[], Tensor] | None], tuple[Tensor, bool]]  # as `Cache.pixels`


class ImageSet(Dataset):
    """HR images, with or without their LR counterparts; item `i` is a whole image as `Raw`, `[C, H, W]`.

    HR is cropped at the bottom and right to a multiple of `scale`, as in every published protocol. A set of up to
    `memory` bytes is held in memory; of a larger one, each image is a view of its entry in `cache`, if there is a cache.
    """

    evaluation_batch = 1  # images differ in size
    retain_decoded = True  # False: an image is used once, and decoded again if it is wanted again

    def __init__(
        self,
        hr: Sequence[Path],
        scale: int,
        lr: Sequence[Path] | None = None,
        memory: float = DEFAULT_MEMORY,
        cache: Cache | None = None,
    ) -> None:
        self.scale, self.memory, self.cache = scale, memory, cache
        self._hr, self._lr, self._headers = list(hr), list(lr) if lr else None, read_headers(hr)
        self._fixed_lr: FixedLR | None = None
        self.dtype: torch.dtype = _find_dtype(self._hr, self._headers)
        self.names = name_images(self._hr)
        self._reset()

    def _reset(self) -> None:
        """Compute the sizes, and drop all decoded images."""
        s = self.scale
        self.sizes = [(x.height - x.height % s, x.width - x.width % s) for x in self._headers]  # (H, W), cropped
        planes = [1 if x.kind == "gray" else 3 for x in self._headers]
        samples = sum(h * w * count for (h, w), count in zip(self.sizes, planes, strict=True))
        self.bytes = self.dtype.itemsize * samples * (1 + 1 / s**2 * self.has_lr)  # when decoded
        self._decoded: dict[int, Raw] = {}
        self._free = self.memory

    def __len__(self) -> int:
        return len(self._hr)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a loader process that is no fork: it opens its own maps instead of receiving pixels."""
        return self.__dict__ | ({"_decoded": {}} if self.is_mapped else {})

    @property
    def has_lr(self) -> bool:
        """True if an image comes with its LR, from a file or made once."""
        return self._lr is not None or self._fixed_lr is not None

    @property
    def is_paired(self) -> bool:
        """True if LR comes from files."""
        return self._lr is not None

    @property
    def hr_files(self) -> list[Path]:
        """The HR file of each image."""
        return list(self._hr)

    @property
    def files(self) -> list[Path]:
        """All files of the set, HR first."""
        return [*self._hr, *(self._lr or [])]

    @property
    def multi_frame_files(self) -> list[tuple[Path, Header]]:
        """The HR files that hold further frames or pages, which are not read."""
        return [(path, header) for path, header in zip(self._hr, self._headers, strict=True) if header.frames > 1]

    @property
    def is_mapped(self) -> bool:
        """True if the set is too large for memory, and is read from the cache."""
        return self.cache is not None and self.retain_decoded and self.bytes > self.memory

    def __getitem__(self, index: int | list[int]) -> Raw:
        if isinstance(index, list):
            return stack_images([self[i] for i in index])
        if index in self._decoded:
            return self._decoded[index]
        return self._open(index, self.cache.pixels if self.is_mapped else _decode)

    def subset(self, hr: Sequence[Path]) -> "ImageSet":
        """Return the images of these HR files as a set of their own."""
        position = {path: k for k, path in enumerate(self._hr)}
        indices = [position[path] for path in hr]
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
        jobs = [(images, index) for images in (self, *others) for index in range(len(images))]
        with ThreadPoolExecutor() as pool:
            cached = list(pool.map(_open_cached, jobs))  # first, because entries in use are not removed to make room
            missing = [job for job, is_cached in enumerate(cached) if not is_cached]
            random.Random(os.getpid()).shuffle(missing)  # noqa: S311  processes that start together share the work
            results = pool.map(lambda job: _try_decode(*jobs[job]), missing)
            bar = ProgressBar(results, total=len(missing), desc="decoding", unit="image", delay=2)
            errors = dict(zip(missing, bar, strict=True))
        if any(errors.values()):
            raise FileError("\n".join(errors[job] for job in sorted(errors) if errors[job]))

    def _list_origins(self, index: int) -> list[Origin]:
        if self._lr:
            lr: list[Origin] = [(self._lr[index], None)]
        else:
            lr = [(self._hr[index], self._fixed_lr)] if self._fixed_lr else []
        return [(self._hr[index], None), *lr]

    def _open(self, index: int, read_pixels: ReadPixels) -> Raw:
        """Return an image; `read_pixels` gives, for each origin, its pixels, and whether they are mapped.

        A gray image is stored as one plane; its three channels are views of it.
        """
        header, (h, w) = self._headers[index], self.sizes[index]
        opened: list[tuple[Tensor, bool]] = []
        for file, fixed_lr in self._list_origins(index):
            opened.append(read_pixels(file, fixed_lr, partial(fixed_lr, opened[0][0]) if fixed_lr else None))
            factor = 1 if len(opened) == 1 else self.scale
            _check_pixels(file, opened[-1][0], header.height // factor, header.width // factor, self.dtype)
        pixels, mapped = zip(*opened, strict=True)
        planes = [pixels[0][:, :h, :w], *pixels[1:]]
        if not all(mapped):
            planes = [x.contiguous() for x in planes]
        raw = Raw(*(x.expand(3, -1, -1) for x in planes), gray=pixels[0].shape[0] == 1)
        cost = 0 if all(mapped) else sum(x.nbytes for x in planes)
        with _LOCK:
            if self.retain_decoded and cost <= self._free and (cost or len(self._decoded) < MAX_MAPS):
                self._free -= cost
                self._decoded[index] = raw
        return raw


def _find_dtype(paths: Sequence[Path], headers: Sequence[Header]) -> torch.dtype:
    """Return the type of the pixels of a set. Raises one `FileError` that lists the files of the rarer depth.

    A file whose pixels are neither uint8 nor uint16 is an error when it is decoded.
    """
    files = {dtype: [p for p, x in zip(paths, headers, strict=True) if x.dtype == dtype] for dtype in WHITE}
    rarer, other = sorted(files, key=lambda dtype: len(files[dtype]))
    if files[rarer]:
        count, bits = len(files[other]), count_bits(other)
        raise FileError(
            "\n".join(
                f"{path}: {count_bits(rarer)} bits per channel, but {count} file(s) of the set have {bits}; convert them to "
                f"one depth, for their values would not be comparable"
                for path in files[rarer]
            )
        )
    return other


def _check_pixels(file: Path, pixels: Tensor, height: int, width: int, dtype: torch.dtype) -> None:
    """Raise `UserError` if the pixels are not those that the header announced: they would be cropped silently."""
    if pixels.dtype != dtype:
        bits = f"{count_bits(dtype)} bits per channel, as when the set was opened (found {count_bits(pixels.dtype)}"
        raise UserError(f"{file}: expected {bits}); the file has changed: start again")
    if pixels.shape[1:] != (height, width):
        raise UserError(
            f"{file}: expected {width}×{height} pixels, as when the set was opened (found "
            f"{pixels.shape[2]}×{pixels.shape[1]}); the file has changed: start again"
        )


def _decode(file: Path, fixed_lr: FixedLR | None, make: Callable[[], Tensor] | None) -> tuple[Tensor, bool]:
    """Decode or make pixels in memory; a `ReadPixels` that uses no cache."""
    return (make() if make else read_levels(file)), False


def _open_cached(job: tuple[ImageSet, int]) -> bool:
    """Open an image from the cache, and return whether it is there."""
    images, index = job
    if not images.is_mapped:
        return False
    cached = {origin: images.cache.find(*origin) for origin in images._list_origins(index)}
    if any(pixels is None for pixels in cached.values()):
        return False
    images._open(index, lambda file, fixed_lr, make: (cached[file, fixed_lr], True))
    return True


def _try_decode(images: ImageSet, index: int) -> str | None:
    """Decode an image; return the error message if it is damaged."""
    try:
        images[index]
    except UserError as error:
        return str(error)
    return None


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Read the headers of all files, in parallel. Raises one `FileError` that lists every error."""

    def try_probe(path: Path) -> Header | UserError:
        try:
            return probe(path)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(try_probe, paths))
    errors = [str(header) for header in results if isinstance(header, UserError)]
    if errors:
        raise FileError("\n".join(errors))
    return results


def name_images(paths: Sequence[Path]) -> list[str]:
    """Return each image's shortest unique name: a, else a.png, else HR/a.png, else T91/HR/a.png."""
    names = [path.stem for path in paths]
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            "/".join(path.parts[-depth:]) if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)
        ]
    return names


def stack_images(items: list[Raw]) -> Raw:
    """Stack images of one size to a batch, `[B, C, H, W]`."""
    lr: Tensor | None = torch.stack([item.lr for item in items]) if items[0].lr is not None else None
    return Raw(torch.stack([item.hr for item in items]), lr, gray=all(item.gray for item in items))
