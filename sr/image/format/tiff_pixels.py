"""Convert the samples of a TIFF page, as they are stored, to gray, RGB or bands with alpha: uint8, uint16 or float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from sr.image.color_profile import create_rgb_converter
from sr.image.damage import UnsupportedImageError
from sr.image.format.tiff_metadata import ICC
from sr.image.tiff import UNSPECIFIED

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 6, 8, 9  # photometric
COLOR_SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
CONVERTED = (PALETTE, CMYK, YCBCR, CIELAB, ICCLAB)  # to RGB
JPEG = (6, 7)  # compressions whose decoder converts YCbCr
PREMULTIPLIED, ALPHA = 1, 2  # extra samples: alpha that is multiplied into the color, and alpha that is not
CMYK_INKS = 1  # of the tag InkSet
INK_SET, PALETTE_TAG = 332, 320


class SampleConverter:
    """Convert windows of a page. Its attributes describe the result.

    Raises `UnsupportedImageError` if the samples have no meaning that is known.
    """

    def __init__(self, path: Path, page: Any) -> None:
        self.page, self.photometric = page, int(page.photometric)
        color = COLOR_SAMPLES.get(self.photometric)
        if color is None:
            raise UnsupportedImageError(f"{path}: samples of the kind {page.photometric!r}; convert it first")
        if page.dtype.kind not in "buif":
            raise UnsupportedImageError(
                f"{path}: {page.dtype.name} samples; save their magnitude, or their parts as bands"
            )
        further = page.samplesperpixel - color
        if further < 0:
            raise ValueError(f"{page.samplesperpixel} samples where {color} are expected")
        kinds = tuple(int(kind) for kind in page.extrasamples)
        if not set(kinds) <= {UNSPECIFIED, PREMULTIPLIED, ALPHA}:
            raise ValueError(f"its extra samples are of the unknown kinds {kinds}")
        self.notes: tuple[str, ...] = ()
        if len(kinds) != further:
            self.notes = (
                f"its header may be damaged: of {page.samplesperpixel} samples a pixel {color} are color, and it describes "
                f"{len(kinds)} others",
            )
        self.has_alpha = further == 1 and kinds[:1] in ((PREMULTIPLIED,), (ALPHA,))
        self.is_premultiplied = self.has_alpha and kinds[0] == PREMULTIPLIED
        bands = further - self.has_alpha
        self.color_samples = color
        self.channels = 3 if self.photometric in CONVERTED else color + bands
        self.bits = 1 if page.dtype.kind == "b" else page.bitspersample
        self._convert = self._create_converter(path, page, bands)
        is_integer = page.dtype.kind in "bu"
        if self.photometric in CONVERTED:
            self.dtype = np.dtype(np.uint16 if self.bits == 16 and self.photometric != PALETTE else np.uint8)
        else:
            self.dtype = np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.float32)
        if not is_integer:
            self.dtype = np.dtype(np.float32)
        self.white = float((1 << self.bits) - 1) if self.dtype == np.uint16 else 255.0
        if self.photometric == WHITE_IS_ZERO and self.dtype == np.float32:
            raise UnsupportedImageError(f"{path}: {page.dtype.name} samples whose white is zero; invert them first")

    def convert(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the pixels `[H, W, channels]` and alpha `[H, W, 1]`, if any, of a window `[H, W, samples]`."""
        color = stored[..., : -1 if self.has_alpha else None]
        if self.photometric != PALETTE:
            color = self._scale(color)
        if self._convert:
            color = self._convert(color)
        elif self.photometric == WHITE_IS_ZERO:
            color = color.dtype.type(self.white) - color
        alpha = self._scale(stored[..., -1:]) if self.has_alpha else None
        if alpha is not None and self.is_premultiplied:
            color = _divide_by_alpha(color, alpha, self.white)
        return color, alpha

    def _scale(self, samples: np.ndarray) -> np.ndarray:
        """Return samples of less than 8 bits in 0…255, others in the dtype of the result."""
        if self.bits < 8 and self.dtype == np.uint8:
            return (samples.astype(np.uint16) * 255 // ((1 << self.bits) - 1)).astype(np.uint8)
        return samples.astype(self.dtype, copy=False)

    def _create_converter(self, path: Path, page: Any, bands: int) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the function that converts color samples `[H, W, …]` to RGB; None if they are gray, RGB or bands."""
        if self.photometric not in CONVERTED:
            return None
        name = {PALETTE: "palette", CMYK: "CMYK", YCBCR: "YCbCr"}.get(self.photometric, "LAB")
        if bands:
            raise UnsupportedImageError(f"{path}: {name} with {bands} further bands; convert it to RGB")
        if self.photometric == PALETTE:
            return _create_palette_converter(page)
        if self.photometric == YCBCR and page.compression in JPEG:
            return lambda color: color
        if page.dtype not in (np.uint8, np.uint16):
            raise UnsupportedImageError(f"{path}: {name} of {page.dtype.name}; convert it to RGB")
        if self.photometric == CMYK and int(page.tags.valueof(INK_SET) or CMYK_INKS) != CMYK_INKS:
            raise UnsupportedImageError(f"{path}: inks that are not CMYK; convert it to RGB")
        icc = page.tags.valueof(ICC) if self.photometric == CMYK else None
        if page.dtype == np.uint8:
            return _create_8_bit_converter(self.photometric, name, icc)
        if name == "YCbCr":
            raise UnsupportedImageError(f"{path}: YCbCr of 16 bits; convert it to RGB")
        return _convert_lab_16 if name == "LAB" else _create_cmyk_16_converter(icc)


def _create_palette_converter(page: Any) -> Callable[[np.ndarray], np.ndarray]:
    palette = np.asarray(page.colormap).T  # [colors, 3], 16 bits
    if palette.ndim != 2 or palette.shape[1] != 3:
        raise ValueError("its palette is incomplete")
    # Some programs write 8 bits.
    colors = (palette if palette.max(initial=0) < 256 else palette >> 8).astype(np.uint8)
    return lambda indices: colors[indices[..., 0].astype(np.intp)]  # an index beyond the palette is damage: IndexError


def _create_8_bit_converter(photometric: int, mode: str, icc: bytes | None) -> Callable[[np.ndarray], np.ndarray]:
    if mode == "YCbCr":
        return lambda color: np.asarray(Image.fromarray(np.ascontiguousarray(color), "YCbCr").convert("RGB"))
    convert = create_rgb_converter(mode, icc)

    def convert_window(color: np.ndarray) -> np.ndarray:
        if photometric == ICCLAB:  # its a and b are unsigned; those of CIELAB, which Pillow expects, are signed
            color = color ^ np.array([0, 128, 128], np.uint8)
        data = np.ascontiguousarray(color).tobytes()
        return np.asarray(convert(Image.frombytes(mode, color.shape[1::-1], data)))

    return convert_window


def _create_cmyk_16_converter(icc: bytes | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that converts CMYK of 16 bits: by its profile, or else by the plain formula (1 - C)·(1 - K)."""
    import imagecodecs

    def convert_plainly(color: np.ndarray) -> np.ndarray:
        light = 65535 - color.astype(np.uint64)
        return ((light[..., :3] * light[..., 3:] + 32767) // 65535).astype(np.uint16)

    if not icc:
        return convert_plainly
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        imagecodecs.cms_transform(np.zeros((1, 1, 4), np.uint16), icc, srgb, colorspace="cmyk", outcolorspace="rgb")
    except imagecodecs.CmsError:
        return convert_plainly
    return lambda color: imagecodecs.cms_transform(
        np.ascontiguousarray(color), icc, srgb, colorspace="cmyk", outcolorspace="rgb"
    )


def _convert_lab_16(color: np.ndarray) -> np.ndarray:
    """Convert CIELAB of 16 bits (L 0…65535 for 0…100; a, b signed, in 1/256) of the white point D50 to sRGB."""
    lightness = color[..., 0] * (100 / 65535)
    a, b = (color[..., k].view(np.int16) / 256 if color.dtype == np.uint16 else color[..., k] for k in (1, 2))
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * [0.9642, 1.0, 0.8249]
    to_srgb = np.array(  # adapted by Bradford's matrix
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = np.clip(xyz @ to_srgb.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.floor(encoded * 65535 + 0.5).astype(np.uint16)


def _divide_by_alpha(color: np.ndarray, alpha: np.ndarray, white: float) -> np.ndarray:
    """Return color that alpha is not multiplied into. Integers are rounded down, as Pillow does."""
    if color.dtype == np.float32:
        return np.divide(color, alpha, out=color.copy(), where=alpha > 0)
    wide = color.astype(np.uint64) * int(white)
    divided = np.divide(wide, alpha, out=color.astype(np.float64), where=alpha > 0)
    return np.minimum(np.floor(divided), white).astype(color.dtype)
