"""rasterio, which brings GDAL (pip install 'sr[satellite]'): import it, without its messages, and limit its cache."""

import contextlib
import importlib.util
import logging
import re
import threading
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
# What messages begin with: `CPLE_AppDefined in a.tif: TIFFReadDirectory:…`, `CPLE_AppDefined:Fax4Decode:…`.
PREFIX = re.compile(r"^CPLE_\w+(?::| in )")
# Messages about damage that leaves the samples right: of the header, which become notes, and of the colors of JPEG.
HARMLESS = "TIFFReadDirectory", "TIFFFetchNormalTag", "JPEGLib:Invalid SOS", "JPEGLib:Unknown Adobe"


class _Messages(logging.Handler):
    """Collects what GDAL logs, of each thread by itself."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Append a message to those of this thread, if they are collected."""
        collected = getattr(self.of_thread, "collected", None)
        if collected is not None:
            collected.append(record.getMessage())


_messages = _Messages()


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
    logger = logging.getLogger("rasterio")
    logger.setLevel(logging.WARNING)
    logger.propagate, logger.handlers = False, [_messages]  # nothing is printed
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    with rasterio.Env(**OPTIONS, **options):
        try:
            yield rasterio
        except rasterio.errors.RasterioIOError as error:  # whose text may be `see previous exception`
            reason = str(error.__cause__ or error).removeprefix(f"{path}, ").removeprefix(f"{path}: ")
            raise OSError(reason) from error


@contextlib.contextmanager
def collect_messages(path: Path) -> Iterator[list[str]]:
    """Yield a list, which at the end of the block gets the different messages that GDAL logged in it, without the file's name.

    Those of PROJ are about its installation, and left out.
    """
    outer, messages = getattr(_messages.of_thread, "collected", None), []
    collected = _messages.of_thread.collected = []
    try:
        yield messages
    finally:
        _messages.of_thread.collected = outer
    names = re.compile(f"^(?:{re.escape(str(path))}|{re.escape(path.name)})(?:: |, )")
    texts = (names.sub("", PREFIX.sub("", text)) for text in collected if "PROJ" not in text)
    messages += dict.fromkeys(texts)


@contextlib.contextmanager
def report_decoder_warnings(path: Path) -> Iterator[None]:
    """Raise `ValueError` if a decoder of GDAL warns of damage in the block: it makes up samples then."""
    with collect_messages(path) as messages:
        yield
    damage = [text for text in messages if not text.startswith(HARMLESS)]
    if damage:
        raise ValueError(damage[0])
