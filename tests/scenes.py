"""Scenes for tests: GeoTIFFs of several bands, with or without pixels that are no data, written by rasterio."""

from pathlib import Path
from typing import Any

import numpy as np


def make_bands(bands: int = 4, height: int = 96, width: int = 80, seed: int = 0) -> np.ndarray:
    """Return smooth values `[bands, height, width]` of 200…4200, uint16: the same shapes in all bands, of unequal strength."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(np.sin(rng.uniform(0.05, 0.7) * x + rng.uniform(0.05, 0.7) * y + k) for k in range(6))
    strength = np.linspace(0.5, 1, bands)[:, None, None]
    return (2200 + 330 * strength * waves).astype(np.uint16)


def write_scene(path: Path, values: np.ndarray, **profile: Any) -> Path:
    """Write bands `[C, H, W]` as a GeoTIFF with a place on Earth; return its path."""
    import rasterio
    from rasterio.transform import from_origin

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crs": "EPSG:32633", "transform": from_origin(4e5, 5.8e6, 10, 10), **profile}
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype.name, **options
    ) as file:
        file.write(values)
    return path
