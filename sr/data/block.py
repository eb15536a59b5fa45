"""All decoded images of a large set that is held in memory, in one block; the cache stores it as one entry.

A later start with the same files maps the entry instead of decoding them. And images that are decoded one by one into memory
of their own leave holes between them, half as large again as all images.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sr.data.cache import ROW, Cache
from sr.data.fixed_lr import FixedLR
from sr.image.file_format import Header

MIN_BLOCK_BYTES = 32e6  # of a smaller set, files are decoded in less time than it takes to look at an entry
Shape = tuple[int, int, int]


def list_shapes(
    headers: Sequence[Header], sizes: Sequence[tuple[int, int]], scale: int | None, fixed_lr: FixedLR | None
) -> list[list[Shape]]:
    """Return the shapes of the planes of each image: of HR, with its mask, and of LR if there is a `scale`."""
    shapes = []
    for header, (h, w) in zip(headers, sizes, strict=True):
        count = 1 if header.kind == "gray" else header.channels
        lr_count = 1 if fixed_lr and fixed_lr.gray else count
        lr = [(lr_count, h // scale, w // scale)] if scale else []
        shapes.append([(count + header.has_mask, h, w), *lr])
    return shapes


class Block:
    """The planes of all images of a set, one after another. `shapes` are those of the planes of each image, HR first."""

    def __init__(self, shapes: Sequence[Sequence[Shape]], dtype: torch.dtype) -> None:
        self.shapes, self.dtype = shapes, dtype
        self._starts, size = [], 0
        for image in shapes:
            self._starts.append(size)
            size += sum(math.prod(shape) for shape in image)
        self._size = -(-size // ROW) * ROW
        self._samples: Tensor | None = None
        self._is_regular = True  # False: an image has other shapes, so that the block cannot be stored

    def open(self, cache: Cache, name: str) -> bool:
        """Map the entry `name` of the cache; return whether it is there."""
        samples = cache.find_samples(name)
        if samples is None or samples.dtype != self.dtype or len(samples) != self._size:
            return False
        self._samples = samples
        return True

    def allocate(self) -> None:
        """Reserve the memory of all images; the system provides it once it is written."""
        self._samples = torch.empty(self._size, dtype=self.dtype)

    def get(self, index: int) -> list[Tensor]:
        """Return the planes of an image, views of the block."""
        planes, start = [], self._starts[index]
        for shape in self.shapes[index]:
            size = math.prod(shape)
            planes.append(self._samples[start : start + size].view(shape))
            start += size
        return planes

    def put(self, index: int, planes: Sequence[Tensor]) -> list[Tensor]:
        """Copy the planes of an image into the block and return them there; of other shapes, return them as they are."""
        if [tuple(plane.shape) for plane in planes] != list(self.shapes[index]):
            self._is_regular = False
            return list(planes)
        places = self.get(index)
        for place, plane in zip(places, planes, strict=True):
            place.copy_(plane)
        return places

    def store(self, cache: Cache, name: str) -> None:
        """Store the block, in which all images are, as the entry `name` of the cache."""
        if self._is_regular:
            last = self._starts[-1] + sum(math.prod(shape) for shape in self.shapes[-1])
            self._samples[last:] = 0
            cache.store_samples(name, self._samples)
