"""The options `bands`, `axis` and `range`: what of each file is the image."""

from collections.abc import Mapping
from typing import Any

from sr.image.file_format import ReadOptions
from sr.runtime.error import UserError


def get_read_options(config: Mapping[str, Any]) -> ReadOptions:
    """Return what of each file is the image: the options `bands`, `axis` and `range`. Raise `UserError` if one is wrong."""
    bands, limits = config["bands"], config["range"]
    if limits is not None and limits != "window":
        if isinstance(limits, str) or len(limits) != 2 or not limits[0] < limits[1]:
            found = limits if isinstance(limits, str) else list(limits)
            raise UserError(f"range={found}: expected window, or two values, the lower one first, such as [-1000,1000]")
        limits = (float(limits[0]), float(limits[1]))
    return ReadOptions(None if bands is None else tuple(bands), config["axis"], limits)
