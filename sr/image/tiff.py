"""TIFF files: how their samples are stored, which of their pages are images, and which of them are not read."""

import contextlib
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# Tags of TIFF 6.0, and of Adobe's DNG.
SUBFILE_TYPE, BITS, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION = 254, 258, 277, 338, 339, 50706
REDUCED, MASK = 1, 4  # bits of SUBFILE_TYPE: a smaller copy of another page, and its transparency
SAMPLE_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)  # GeoTIFF 1.1: pixel scale, tie points, transformation, keys
GDAL_METADATA, GDAL_NODATA = 42112, 42113
MORE = "expected 8-bit gray or RGB without further libraries: pip install 'sr[images]'"  # reads more
UNSPECIFIED = 0  # of EXTRA_SAMPLES: a band that is neither alpha nor part of the color


def explain_unread_tiff(image: Image.Image) -> str:
    """Return why an opened TIFF would be read wrongly or only in part, and what to do, or an empty string."""
    tags = image.tag_v2
    if DNG_VERSION in tags or _first(tags.get(SUBFILE_TYPE, 0)) & REDUCED:
        return "its first page is a small preview (camera RAW?); convert it to PNG"
    extra = tags.get(EXTRA_SAMPLES) or ()
    if UNSPECIFIED in extra or _first(tags.get(SAMPLE_FORMAT, 1)) in (2, 3, 5, 6):
        return f"{_describe_tags(tags)}, {MORE}"
    return ""


def describe_samples(path: Path) -> str:
    """Return `a TIFF with 6 bands of 8 bits` of a file that Pillow does not open, or an empty string if it is damaged."""
    try:
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(8) if 43 in header[2:4] else b""  # BigTIFF
            tags = ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
        return _describe_tags(tags) if BITS in tags else ""
    except Exception:  # damaged tags may lead to every kind of it
        return ""


def list_pages(image: Image.Image) -> list[int]:
    """Return the numbers of the pages that are images: smaller copies and masks of a page are not. The first page is opened."""
    if getattr(image, "n_frames", 1) == 1:
        return [0]
    pages = []
    for page in range(image.n_frames):
        with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError):  # of its pixels; its tags are there
            image.seek(page)
        if not _first(image.tag_v2.get(SUBFILE_TYPE, 0)) & (REDUCED | MASK):
            pages.append(page)
    image.seek(0)
    return pages or [0]


def list_geo_tags(tags: Any) -> list[str]:
    """Return the names of the geographic tags of a TIFF: `["GeoTIFF tags", "nodata value 0"]`."""
    lost = ["GeoTIFF tags"] if any(tag in tags for tag in GEO_TAGS) else []
    if GDAL_NODATA in tags:
        lost.append(f"nodata value {str(tags[GDAL_NODATA]).strip()}")
    return lost + ["GDAL metadata"] * (GDAL_METADATA in tags)


def _describe_tags(tags: Any) -> str:
    bits, samples = _first(tags.get(BITS, 1)), tags.get(SAMPLES, 1)
    kind = SAMPLE_FORMATS.get(_first(tags.get(SAMPLE_FORMAT, 1)), "")
    return f"a TIFF with {samples} {kind}band{'s' * (samples != 1)} of {bits} bit{'s' * (bits != 1)}"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
