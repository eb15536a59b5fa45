"""The range of stored values that becomes 0…1 in a network's input: one for all bands, tiles and windows of a GeoTIFF.

Samples of 8 bits have 0…255. Of others, 0.1 % of the samples that are data are darker than the range and 0.1 % brighter, so
that a cloud does not take the contrast of the ground. Values beyond it are not cut off.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sr.image.file_format import Window
from sr.image.format.geotiff_library import find_driver, use_rasterio
from sr.image.format.geotiff_pixels import read_samples
from sr.image.format.geotiff_source import GeoSource, describe_source

SHARE = 0.001  # of the samples that are below the range, and above it
MAX_SAMPLES = 1 << 26  # that are read; of a larger file, evenly chosen rows
MAX_VALUES = 1 << 22  # of floats and numbers of 32 bits, of which the percentiles are computed
ROWS_BYTES = 1 << 25  # of the rows that are read at once
MAX_RANGES = 64  # that are remembered


class SampleRange(NamedTuple):
    """Stored values that become 0 and 1."""

    low: float
    high: float


def find_range(source: GeoSource) -> SampleRange:
    """Return the range of a file; its samples are read for it, once while the file stays as it is."""
    if source.dtype == np.uint8:
        return SampleRange(0.0, float((1 << min(source.bits, 8)) - 1))
    stat = source.path.stat()
    return _find_range(source.path.absolute(), source.stored, stat.st_size, stat.st_mtime_ns)


@lru_cache(MAX_RANGES)
def _find_range(path: Path, bands: tuple[int, ...], size: int, time: int) -> SampleRange:
    with use_rasterio(path) as rasterio, rasterio.open(path, driver=find_driver(path)) as dataset:
        source = describe_source(path, dataset, bands)
        parts = (samples.values[_expand(samples)] for samples in _iterate_rows(dataset, source))
        if source.dtype.kind in "iu" and source.dtype.itemsize <= 2:
            low, high = _count_values(parts, source.dtype)
        else:
            low, high = _sample_values(parts, source)
    return SampleRange(low, high if high > low else low + 1)


def _expand(samples: Any) -> np.ndarray:
    if samples.valid is None:
        return np.ones(samples.values.shape, bool)
    return np.broadcast_to(samples.valid, samples.values.shape)


def _iterate_rows(dataset: Any, source: GeoSource) -> Iterator[Any]:
    """Yield all rows, or of a large file some that are evenly chosen, each with all columns and bands."""
    row_samples = source.width * len(source.indexes)
    rows = max(
        source.block[0], ROWS_BYTES // (row_samples * source.dtype.itemsize) // source.block[0] * source.block[0]
    )
    rows = min(rows, 256) if source.block[0] == 1 else rows
    count = math.ceil(source.height / rows)
    wanted = max(1, min(count, MAX_SAMPLES // (row_samples * rows)))
    for k in range(wanted):
        top = k * count // wanted * rows
        yield read_samples(dataset, source, Window(top, 0, min(rows, source.height - top), source.width))


def _count_values(parts: Iterator[np.ndarray], dtype: np.dtype) -> tuple[float, float]:
    """Return the range of whole numbers of 8 or 16 bits, of which there is a histogram."""
    lowest = int(np.iinfo(dtype).min)
    counts = np.zeros(1 << (8 * dtype.itemsize), np.int64)
    for numbers in parts:
        counts += np.bincount(numbers.astype(np.int32) - lowest, minlength=len(counts))
    total, present = np.cumsum(counts), np.flatnonzero(counts)
    if not len(present):
        return 0.0, 1.0
    low, high = (int(np.searchsorted(total, share * total[-1], "right")) for share in (SHARE, 1 - SHARE))
    high = min(high, int(present[-1]))
    if low == high:  # nearly all samples are equal
        low, high = int(present[0]), int(present[-1])
    return float(low + lowest), float(high + lowest)


def _sample_values(parts: Iterator[np.ndarray], source: GeoSource) -> tuple[float, float]:
    """Return the range of other numbers, of some of which there are percentiles."""
    step = max(1, min(MAX_SAMPLES, source.height * source.width * len(source.indexes)) // MAX_VALUES)
    values = np.concatenate([numbers[::step].astype(np.float64) for numbers in parts])
    if not len(values):
        return 0.0, 1.0
    low, high = np.quantile(values, [SHARE, 1 - SHARE])
    if low == high:
        low, high = values.min(), values.max()
    return float(np.float32(low)), float(np.float32(high))
