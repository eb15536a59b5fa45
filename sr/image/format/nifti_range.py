"""The range of stored values that becomes 0…1 in a network's input: one for all slices and times of a volume.

Unsigned 8-bit values have 0…255. Of others, 0.1 % of the voxels are darker and 0.1 % brighter than the range, so that a few
bright ones (vessels in MR, metal in CT) leave the rest its contrast. Values beyond it are not cut off.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sr.image.damage import UnsupportedImageError
from sr.image.format.nifti_header import NiftiSource, Planes, read_source
from sr.image.format.nifti_voxels import VoxelReader

SHARE = 0.001  # of the voxels that are below the range, and above it
MAX_SAMPLES = 1 << 22  # voxels, evenly chosen, of which the range of float and 32-bit values is computed
EXACT = 1 << 24  # whole numbers up to it have a float32
MAX_RANGES = 64  # that are remembered


class VoxelRange(NamedTuple):
    """Stored values: the range, and the smallest and the largest one."""

    low: float
    high: float
    smallest: float
    largest: float


def find_range(source: NiftiSource) -> VoxelRange:
    """Return the range of a volume; all of its voxels are read, once while the file stays as it is.

    Raises `UnsupportedImageError` if voxels are NaN or infinite, and what a damaged file leads to.
    """
    stat = source.path.stat()
    return _find_range(source.path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache(MAX_RANGES)
def _find_range(path: Path, size: int, time: int) -> VoxelRange:
    source = read_source(path)
    reader = VoxelReader(source, Planes(1, 0, 2))
    if source.dtype.itemsize <= 2 and source.dtype.kind in "iu":
        found = _count_values(reader, source.dtype)
    else:
        found = _sample_values(reader, source)
    if found.high > found.low:
        return found
    if found.largest > found.smallest:  # nearly all voxels are background
        return found._replace(low=found.smallest, high=found.largest)
    return found._replace(high=found.low + 1)


def _count_values(reader: VoxelReader, dtype: np.dtype) -> VoxelRange:
    """Return the range of whole numbers of 8 or 16 bits, of all of which there is a histogram."""
    lowest = int(np.iinfo(dtype).min)
    counts = np.zeros(1 << (8 * dtype.itemsize), np.int64)
    for numbers in reader.iterate_chunks():
        counts += np.bincount(numbers.astype(np.int32) - lowest, minlength=len(counts))
    total, present = np.cumsum(counts), np.flatnonzero(counts)
    low, high = (int(np.searchsorted(total, share * total[-1], "right")) for share in (SHARE, 1 - SHARE))
    limits = (low, min(high, int(present[-1])), int(present[0]), int(present[-1]))
    return VoxelRange(*(float(value + lowest) for value in limits))


def _sample_values(reader: VoxelReader, source: NiftiSource) -> VoxelRange:
    """Return the range of other numbers, of some of which there are percentiles."""
    step = max(1, int(np.prod(source.shape, dtype=object)) // MAX_SAMPLES)
    smallest, largest, samples, start = np.inf, -np.inf, [], 0
    for numbers in reader.iterate_chunks():
        if not np.isfinite(numbers).all():
            raise UnsupportedImageError(
                f"{source.path}: voxels that are NaN or infinite; replace them by numbers first, such as by "
                "numpy.nan_to_num"
            )
        smallest, largest = min(smallest, numbers.min()), max(largest, numbers.max())
        samples.append(numbers[-start % step :: step].astype(np.float64))
        start += len(numbers)
    low, high = np.quantile(np.concatenate(samples), [SHARE, 1 - SHARE])
    return VoxelRange(float(low), float(high), float(smallest), float(largest))
