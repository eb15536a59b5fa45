"""The values of whole volumes, from those of their slices: PSNR of all pixels together, other metrics the mean of slices."""

import math
from collections.abc import Mapping, Sequence

from sr.metric.protocol_variants import pool_psnr
from sr.record.result import Metrics

POOLED = ("psnr", "bicubic_psnr")


def group_by_volume(
    volumes: Sequence[str], per_image: Mapping[str, Metrics], sizes: Sequence[tuple[int, int]], border: int
) -> dict[str, Metrics]:
    """Return the values of each volume, with the number of its slices as `count`; empty for images that are no slices.

    `volumes` and `sizes` (H, W) are those of the images in `per_image`, in their order; `border` pixels are cut at each side.
    The PSNR of a volume is that of its mean squared error, not the mean of its slices: an easy slice weighs no more there.
    """
    members: dict[str, list[int]] = {}
    for index, volume in enumerate(volumes):
        if volume:
            members.setdefault(volume, []).append(index)
    rows = list(per_image.values())
    pixels = [(height - 2 * border) * (width - 2 * border) for height, width in sizes]
    return {
        volume: {key: _combine(key, [rows[k][key] for k in indices], [pixels[k] for k in indices]) for key in rows[0]}
        | {"count": len(indices)}
        for volume, indices in members.items()
    }


def _combine(key: str, values: list[float], pixels: list[int]) -> float:
    if key in POOLED:
        return pool_psnr(values, pixels)
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
