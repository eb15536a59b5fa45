"""Read and write image files by Pillow: the base of the formats that it decodes."""

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sr.image.color_profile import CONVERTED_MODES, create_rgb_converter
from sr.image.damage import ADVICE, UnsupportedImageError, report_damage
from sr.image.exif import clean_exif, clean_xmp
from sr.image.file_format import Frame, Header, ImageFile, Metadata, Window
from sr.image.limits import check_announced_size, check_decoded_size
from sr.runtime.error import UserError

# Pillow's modes with 8 bits per channel that it converts to RGB or L without guessing a color space.
GRAY_MODES = ("1", "L", "LA", "La")
ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
MODES = (*GRAY_MODES, *ALPHA_MODES, "RGB", "RGBX", "P")
PALETTE_MODES = ("P", "PA")
GRAY_16_MODES = ("I;16", "I;16B", "I;16L")
ORIENTATION_TAG = 0x0112  # EXIF
TRANSPOSING_ORIENTATIONS = (5, 6, 7, 8)  # 1…4 leave the size; Pillow ignores all other values
XMP_KEYS = ("xmp", "XML:com.adobe.xmp")
EXIF_KEYS = ("exif", "Raw profile type exif", *XMP_KEYS)  # XMP may have the orientation, too
NAMES = {"exif": "EXIF", "xmp": "XMP", "dpi": "a resolution", "texts": "text"}  # in the note of what a result has not
NO_TEXTS = {*EXIF_KEYS, "compression", "version"}  # of Pillow's `info`


class PillowFile(ImageFile):
    """A file that Pillow decodes, a whole frame at a time; windows are cut out of the decoded frame."""

    def __init__(self, path: Path, name: str, image: Image.Image) -> None:
        self.path, self.name, self._image = path, name, image
        self.orientation = self.find_orientation()
        self._position: int | None = None  # of the frame that is decoded
        self._stored_size = image.size
        self._convert: Callable[[Image.Image], Image.Image] | None = None
        if image.mode in CONVERTED_MODES:
            self._convert = create_rgb_converter(image.mode, self._icc)
        self.header, self.has_palette = self.build_header(), image.mode in PALETTE_MODES

    def build_header(self) -> Header:
        """Return the header of the opened image, of which nothing is decoded."""
        image = self._image
        width, height = image.size
        if self.orientation in TRANSPOSING_ORIENTATIONS:
            height, width = width, height
        is_gray, is_deep = image.mode in (*GRAY_MODES, *GRAY_16_MODES), is_16_bit(image)
        has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
        dtype, white = (torch.uint16, 65535.0) if is_deep else (torch.uint8, 255.0)
        kind, channels = ("gray", 1) if is_gray else ("color", 3)
        return Header(height, width, kind, self.count_frames(), self.name, channels, has_alpha, dtype, white=white)

    def count_frames(self) -> int:
        """Return the number of images in the file."""
        return getattr(self._image, "n_frames", 1)

    def find_orientation(self) -> int:
        """Return the EXIF orientation, 1…8, that the decoded pixels still need."""
        if not any(key in self._image.info for key in EXIF_KEYS):
            return 1
        value = read_exif(self._image.info).get(ORIENTATION_TAG, 1)
        return value if value in range(2, 9) else 1

    def seek(self, frame: int) -> None:
        """Go to a frame, without decoding it."""
        self._image.seek(frame)

    def check_decoded(self) -> None:
        """Raise an exception if the image, which has just been decoded, is incomplete."""

    @property
    def image(self) -> Image.Image:
        """The opened image, as stored."""
        return self._image

    @property
    def _icc(self) -> bytes | None:
        icc = self._image.info.get("icc_profile")
        return icc if isinstance(icc, bytes) and icc else None

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata of the file. That of an animation may need its frames to be decoded."""
        with report_damage(self.path):
            durations = self.list_durations() if self.header.frames > 1 else ()
        loops = self._image.info.get("loop") if self.header.frames > 1 else None
        metadata = Metadata(None if self._convert else self._icc, durations=durations, loops=loops)
        damaged: list[str] = []
        readers = {
            "exif": self._read_clean_exif, "xmp": self._read_clean_xmp, "dpi": self._read_dpi, "texts": self.list_texts,
            "unread": self.list_unread,
        }  # fmt: skip
        for field, read in readers.items():
            try:
                metadata = metadata._replace(**{field: read()})
            except Exception:  # damaged bytes may lead to every kind of it, and the pixels are right nevertheless
                damaged.append(f"{NAMES.get(field, 'metadata')} that cannot be read")
        return metadata._replace(unread=(*metadata.unread, *damaged))

    def _read_dpi(self) -> tuple[float, float] | None:
        """Return the pixels per inch, if they are stated: 1 is none."""
        dpi = self._image.info.get("dpi")
        return (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 1 else None

    def _read_clean_exif(self) -> bytes | None:
        """Return EXIF without orientation and thumbnail. Raise `ValueError` or `struct.error` if it is damaged."""
        raw = self._image.info.get("exif")
        if raw is None and "Raw profile type exif" in self._image.info:
            raw = read_exif(self._image.info).tobytes()
        return clean_exif(raw) if raw else None

    def _read_clean_xmp(self) -> bytes | None:
        """Return XMP without orientation."""
        xmp = next((self._image.info[key] for key in XMP_KEYS if self._image.info.get(key)), None)
        return clean_xmp(xmp.encode() if isinstance(xmp, str) else xmp) if xmp else None

    def list_unread(self) -> tuple[str, ...]:
        """Return the names of the metadata that no result gets."""
        info = self._image.info
        has_damaged_profile = not isinstance(info.get("icc_profile", b""), bytes)
        return ("IPTC",) * ("photoshop" in info) + ("a color profile that cannot be read",) * has_damaged_profile

    def list_durations(self) -> tuple[float, ...]:
        """Return how long each frame is shown, in ms; empty for pages."""
        durations = []
        for frame in range(self.header.frames):
            self._decode(frame)
            if "duration" not in self._image.info:
                return ()
            durations.append(float(self._image.info.get("duration", 0)))
        return tuple(durations)

    def list_texts(self) -> dict[str, str]:
        """Return texts such as `Title`, and the `comment`."""
        return {
            "comment" if key == "Comment" else key: value.decode("utf-8", "replace")
            if isinstance(value, bytes)
            else str(value)
            for key, value in self._image.info.items()
            if isinstance(key, str) and key not in NO_TEXTS and (isinstance(value, str) or key == "comment")
        }

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        with report_damage(self.path):
            if window is None:  # what Pillow decodes, and two copies of it
                check_decoded_size(self.path, *self.header[:2], 4 + 2 * self.header.pixel_bytes)
            self._decode(frame)
            return self._cut(window or Window(0, 0, self.header.height, self.header.width))

    def _decode(self, frame: int) -> None:
        if self._position == frame:
            return
        self._position = None  # if it fails
        if self.header.frames > 1:
            self.seek(frame)
            if self._image.size != self._stored_size:
                raise ValueError(f"frame {frame + 1} has another size than the first one")
        self._image.load()
        self.check_decoded()
        self.orientation = self.find_orientation()  # PNG may have it behind the pixels
        width, height = self._image.size
        if self.orientation in TRANSPOSING_ORIENTATIONS:
            height, width = width, height
        if (height, width) != self.header[:2]:
            announced = f"{self.header.width}×{self.header.height}"
            raise ValueError(f"its header announces {announced} pixels upright, decoded are {width}×{height}")
        self._position = frame

    def _cut(self, window: Window) -> Frame:
        """Return a window of the decoded frame. Only the window is converted and turned upright."""
        left, top, width, height = find_stored_box(window, self.orientation, self._image.size)
        part = self._image
        if (left, top, width, height) != (0, 0, *part.size):
            part = part.crop((left, top, left + width, top + height))
        if self._convert:
            part = self._convert(part)
        pixels, alpha = split_alpha_16(part) if self.header.dtype == torch.uint16 else split_alpha(part)
        pixels, alpha = turn_upright(pixels, self.orientation), turn_upright(alpha, self.orientation)
        if pixels.shape[0] < self.header.channels:
            pixels = pixels.expand(self.header.channels, -1, -1).contiguous()  # of an animation that turns to color
        if self.header.has_alpha and alpha is None:
            alpha = torch.full_like(pixels[:1], 255)
        return Frame(pixels, alpha if self.header.has_alpha else None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._image.close()
        self._position = None


def open_pillow(path: Path, name: str, *decoders: str) -> Image.Image:
    """Open an image by Pillow's `decoders`, without decoding it; `name` is the format, for the error messages.

    Raises `UserError` if the header is damaged or announces too many pixels, or if its mode is none that is read.
    """
    with report_damage(path):
        try:
            image = Image.open(path, formats=decoders)
        except UnidentifiedImageError:
            raise UserError(f"{path}: this {name} file is damaged (its header cannot be read); {ADVICE}") from None
    with contextlib.ExitStack() as stack, report_damage(path):
        stack.callback(image.close)
        if image.mode not in (*MODES, *GRAY_16_MODES, *CONVERTED_MODES):
            raise UnsupportedImageError(
                f"{path}: mode {image.mode}, expected 8-bit gray, RGB or CMYK; convert it first"
            )
        check_announced_size(path, image)
        check_decoded_size(
            path, image.height, image.width, 1 if image.mode in ("1", "L") else 4
        )  # bytes in Pillow's memory
        stack.pop_all()
    return image


def read_exif(info: dict[Any, Any]) -> Image.Exif:
    """Return the EXIF data in Pillow's `info`, with the orientation that only XMP states, if so.

    `Image.getexif` of the image itself would decode a PNG, and remember what it found before the pixels.
    """
    carrier = Image.new("1", (1, 1))
    carrier.info = info
    return carrier.getexif()


def is_16_bit(image: Image.Image) -> bool:
    """Return True if the file has 16 bits per channel, even where Pillow drops the lower 8 and reports RGB.

    A BMP with 5-6-5 bits per pixel (Pillow's raw mode "BGR;16") is not one.
    """
    raw_modes = [str(tile[3]) for tile in image.tile]
    return any(";16" in raw_mode and "BGR;16" not in raw_mode for raw_mode in raw_modes)


def split_alpha(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return the pixels of a Pillow image of one of `MODES`, uint8 `[3 or 1, H, W]`, and its alpha `[1, H, W]`, if any."""
    alpha = None
    mode = "L" if image.mode in GRAY_MODES else "RGB"
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = _to_tensor(image.getchannel("A"))
    return _to_tensor(image.convert(mode)), alpha


def split_alpha_16(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return the pixels of a gray image with 16 bits; the gray value that is transparent, if any, becomes alpha."""
    pixels = np.array(image).astype(np.uint16, copy=False)
    transparent = image.info.get("transparency")
    alpha = None
    if transparent is not None:
        alpha = torch.from_numpy(np.where(pixels == transparent, 0, 65535).astype(np.uint16))[None]
    return torch.from_numpy(pixels)[None], alpha


def turn_upright(layers: Tensor | None, orientation: int) -> Tensor | None:
    """Turn `[C, H, W]` as its EXIF orientation says."""
    if layers is None or orientation == 1:
        return layers
    if orientation in TRANSPOSING_ORIENTATIONS:
        layers = layers.transpose(1, 2)
    axes = [1] * (orientation in (3, 4, 7, 8)) + [2] * (orientation in (2, 3, 6, 7))
    return layers.flip(axes).contiguous()


def _to_tensor(image: Image.Image) -> Tensor:
    """Return uint8 `[1 or 3, H, W]`."""
    array = np.array(image)  # a copy: Pillow's own buffer is read-only
    layers = array[:, :, None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(layers.transpose(2, 0, 1)))  # faster than torch on busy cores


def find_stored_box(window: Window, orientation: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, width, height, in the image of `size` (W, H) as stored, of a window of the upright image."""
    top, left, height, width = window
    if orientation in TRANSPOSING_ORIENTATIONS:  # rows and columns are exchanged
        top, left, height, width = left, top, width, height
    if orientation in (2, 3, 7, 8):
        left = size[0] - left - width
    if orientation in (3, 4, 6, 7):
        top = size[1] - top - height
    return left, top, width, height
