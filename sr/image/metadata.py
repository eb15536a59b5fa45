"""Name what is in an image file and not in the PNG that is written of it: further frames, geographic tags, EXIF, resolution."""

from pathlib import Path
from typing import Any

from PIL import Image

from sr.image.read import ORIENTATION_TAG, open_image, probe

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)  # GeoTIFF 1.1: pixel scale, tie points, transformation, keys
GDAL_METADATA, GDAL_NODATA = 42112, 42113
DATES, CAMERA, GPS = (306, 36867, 36868), (271, 272), 34853  # EXIF
EXIF_IFD = 34665
SCREEN_DPI = (72, 96)  # what programs write where no resolution is known
APPLIED = {ORIENTATION_TAG, EXIF_IFD, 282, 283, 296}  # tags of EXIF that are no loss: orientation, resolution


def describe_lost_metadata(path: Path) -> list[str]:
    """Return the parts of a file that only the file holds: `["3 of 4 frames", "GeoTIFF tags", "nodata value 0"]`.

    Alpha, color profile and orientation are not among them: they are preserved or applied. Raises as `probe`.
    """
    frames = probe(path).frames
    with open_image(path) as image:
        is_tiff = image.format == "TIFF"
        lost = [f"{frames - 1} of {frames} {'pages' if is_tiff else 'frames'}"] if frames > 1 else []
        try:
            return lost + (_list_geo_tags(image.tag_v2) if is_tiff else []) + _list_other(image)
        except Exception:  # damaged tags may lead to every kind of it, and the pixels are right nevertheless
            return [*lost, "metadata that cannot be read"]


def _list_geo_tags(tags: Any) -> list[str]:
    lost = ["GeoTIFF tags"] if any(tag in tags for tag in GEO_TAGS) else []
    if GDAL_NODATA in tags:
        lost.append(f"nodata value {str(tags[GDAL_NODATA]).strip()}")
    return lost + ["GDAL metadata"] * (GDAL_METADATA in tags)


def _list_other(image: Image.Image) -> list[str]:
    info = image.info
    lost = _describe_exif(image)
    dpi = info.get("dpi")
    if dpi and round(dpi[0]) not in (0, 1, *SCREEN_DPI):
        lost.append(f"resolution ({dpi[0]:.0f} DPI)")
    lost += ["XMP"] * any(key in info for key in ("xmp", "XML:com.adobe.xmp"))
    lost += ["IPTC"] * ("photoshop" in info)
    texts = [
        key
        for key, value in info.items()
        if isinstance(value, str) and key not in ("XML:com.adobe.xmp", "compression") and not key.startswith("sr:")
    ]
    lost += ["text"] * ("comment" in info or (image.format == "PNG" and bool(texts)))
    return lost + ["a color profile that cannot be read"] * (not isinstance(info.get("icc_profile", b""), bytes))


def _describe_exif(image: Image.Image) -> list[str]:
    exif = Image.Image.getexif(image)  # the method of PNG files would decode the pixels
    inner = exif.get_ifd(EXIF_IFD)
    parts = ["date"] * any(tag in exif or tag in inner for tag in DATES)
    parts += ["camera"] * any(tag in exif for tag in CAMERA)
    parts += ["GPS"] * (GPS in exif)
    if parts:
        return [f"EXIF ({', '.join(parts)})"]
    others = set() if image.format == "TIFF" else set(exif) - APPLIED  # a TIFF has its pixels' tags there, too
    return ["EXIF"] if inner or others else []
