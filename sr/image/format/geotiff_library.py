"""rasterio, which brings GDAL (pip install 'sr[satellite]'): import it, without its messages, and limit its cache."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sr.image.damage import import_decoder

CACHE_BYTES = 1 << 26  # of decoded blocks, of all files; GDAL's own limit is 5 % of the memory of the machine
OPTIONS = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_TIFF_INTERNAL_MASK": True,
    "GDAL_NUM_THREADS": 1,
    "GDAL_DISABLE_READDIR_ON_OPEN": False,  # a mask may lie in a file next to it
}


def is_rasterio_installed() -> bool:
    """Return True if rasterio can be imported."""
    return importlib.util.find_spec("rasterio") is not None


def find_driver(path: Path) -> str:
    """Return the driver of GDAL that reads a file, TIFF or JPEG 2000: no other one is ever tried."""
    with path.open("rb") as file:
        return "GTiff" if file.read(2) in (b"II", b"MM") else "JP2OpenJPEG"


@contextlib.contextmanager
def use_rasterio(path: Path, found: str = "a GeoTIFF", **options: Any) -> Iterator[ModuleType]:
    """Give rasterio to the block, in which GDAL has these options.

    Raises `UnsupportedImageError` if it is not installed, and `OSError` with GDAL's reason if it cannot read or write.
    """
    rasterio = import_decoder("rasterio", path, found, "satellite")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # its errors are raised
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    with rasterio.Env(**OPTIONS, **options):
        try:
            yield rasterio
        except rasterio.errors.RasterioIOError as error:  # whose text may be `see previous exception`
            reason = str(error.__cause__ or error).removeprefix(f"{path}, ").removeprefix(f"{path}: ")
            raise OSError(reason) from error
