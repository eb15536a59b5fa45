"""Decide whether an image is accepted, by its first bytes and its header, before anything of it is decoded."""

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from sr.image.file_format import Header
from sr.image.format.tiff_tags import list_tags, read_layout
from sr.image.formats import identify_kind
from sr.image.gif_blocks import iterate_frames
from sr.image.read import probe
from sr.serving.error import ServiceError

MAX_FRAMES = 1000  # a file of 50 MB may have millions, and finding them takes minutes


def admit(path: Path, formats: Sequence[str], max_pixels: int) -> Header:
    """Return the header of an image.

    Raises:
        ServiceError: it is no image of one of `formats` (415), or has too many pixels or frames (413).
        UserError: it is damaged.
    """
    kind = identify_kind(path)
    found = kind.name if kind else "no image"
    if found.lower() in formats:
        if has_many_frames(path, found):
            raise ServiceError(413, f"expected at most {MAX_FRAMES} frames (found more)")
        header = probe(path)
        found = header.format
    if found.lower() not in formats:
        raise ServiceError(415, f"expected an image, one of {', '.join(formats)} (found {found})")
    pixels = header.height * header.width * header.frames
    if pixels > max_pixels:
        frames = f" in {header.frames} frames" * (header.frames > 1)
        raise ServiceError(413, f"expected at most {max_pixels} pixels (found {header.width}×{header.height}{frames})")
    return header


def has_many_frames(path: Path, kind: str) -> bool:
    """Return True if a GIF or a TIFF has more than `MAX_FRAMES`; the others state their number, or are quick to count."""
    if kind == "GIF":
        return len(list(islice(iterate_frames(path), MAX_FRAMES + 1))) > MAX_FRAMES
    if kind != "TIFF":
        return False
    with suppress(ValueError, OverflowError, struct.error), path.open("rb") as file:  # whoever opens it reports damage
        layout, offset = read_layout(file)
        for _ in range(MAX_FRAMES):
            if not offset:
                return False
            offset = list_tags(file, layout, offset)[1]
        return bool(offset)
    return False
