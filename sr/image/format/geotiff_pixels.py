"""Read windows of a GeoTIFF: samples, alpha, and which of them are data; the others are filled from their neighbors."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sr.image.file_format import Window
from sr.image.fill import REACH, fill_invalid
from sr.image.format.geotiff_source import GeoSource


class Samples(NamedTuple):
    """The samples of a window, as they are stored."""

    values: np.ndarray  # [C, h, w]
    valid: np.ndarray | None  # bool [1 or C, h, w]; None: all are data


def read_samples(dataset: Any, source: GeoSource, window: Window) -> Samples:
    """Read a window of the bands. NaN and infinite samples are no data, whatever the mask says."""
    from rasterio.windows import Window as RasterWindow

    place = RasterWindow(window.left, window.top, window.width, window.height)
    values = dataset.read(list(source.indexes), window=place)
    if not source.has_mask:
        return Samples(values, None)
    if not source.mask:
        valid = np.ones((1, *values.shape[1:]), bool)
    elif source.mask == "alpha":
        valid = dataset.read([source.alpha], window=place) > 0
    elif source.is_mask_shared:
        valid = dataset.read_masks(source.indexes[0], window=place)[None] > 0
    else:
        valid = dataset.read_masks(list(source.indexes), window=place) > 0
    if values.dtype.kind == "f":
        valid = valid & np.isfinite(values)
    return Samples(values, valid)


def read_window(
    dataset: Any, source: GeoSource, window: Window, fallback: float
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return samples `[C, h, w]`, alpha `[1, h, w]` and `valid`, as in a `Frame`.

    Samples that are no data are filled by `fill_invalid`, of which `fallback` is an argument. They do not depend on the
    window: what is around it is read as well.
    """
    reach = REACH if source.has_mask else 0
    top, left = max(0, window.top - reach), max(0, window.left - reach)
    bottom = min(source.height, window.top + window.height + reach)
    right = min(source.width, window.left + window.width + reach)
    outer = Window(top, left, bottom - top, right - left)
    samples = read_samples(dataset, source, outer)
    valid = None if samples.valid is None else torch.from_numpy(samples.valid)
    values = torch.from_numpy(samples.values.astype(source.frame_dtype, copy=False))
    alpha = None
    if source.alpha is not None:
        alpha = read_samples(dataset, source._replace(indexes=(source.alpha,), has_mask=False), outer).values
        alpha = torch.from_numpy(alpha.astype(source.frame_dtype, copy=False))
    if valid is not None:
        values = fill_invalid(values, valid, fallback)
    rows = slice(window.top - top, window.top - top + window.height)
    columns = slice(window.left - left, window.left - left + window.width)

    def cut(layers: Tensor | None) -> Tensor | None:
        return None if layers is None else layers[:, rows, columns].contiguous()

    return cut(values), cut(alpha), cut(valid)
