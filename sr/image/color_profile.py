"""Convert pixels of print and laboratory color spaces, CMYK and LAB, to sRGB through their color profiles."""

import io
from collections.abc import Callable

from PIL import Image, ImageCms

CONVERTED_MODES = ("CMYK", "LAB")  # Pillow's modes with 8 bits per channel that are converted
SRGB_PRIMARIES, SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)  # codes of ITU-T H.273; 2: unspecified


def describe_color_space(primaries: int, transfer: int) -> list[str]:
    """Return the name of a color space that is stated by codes of ITU-T H.273, unless it is that of sRGB: no result has it."""
    if primaries in SRGB_PRIMARIES and transfer in SRGB_TRANSFERS:
        return []
    names = {9: "BT.2020", 12: "Display P3"}, {14: "", 16: " PQ (HDR)", 18: " HLG (HDR)"}
    return [f"color space {names[0].get(primaries, primaries)}{names[1].get(transfer, '')}"]


def create_rgb_converter(mode: str, icc: bytes | None) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts Pillow images of `mode` CMYK or LAB to sRGB.

    CMYK without a profile, or with one that is damaged or of another color space, is converted by the plain formula
    (1 - C)·(1 - K); LAB is that of the D50 white point, as TIFF and ICC define it.
    """
    srgb = ImageCms.createProfile("sRGB")
    if mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, "LAB", "RGB")
    else:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
            transform = ImageCms.buildTransform(profile, srgb, "CMYK", "RGB")
        except (ImageCms.PyCMSError, OSError):
            return lambda image: image.convert("RGB")
    return lambda image: ImageCms.applyTransform(image, transform)
