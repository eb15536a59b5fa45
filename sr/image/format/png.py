"""PNG: 8 and 16 bits per channel, gray or RGB, with or without alpha; animated PNG."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from sr.image.damage import UnsupportedImageError
from sr.image.file_format import Frame, Header, ImageWriter, Metadata, Window, WriteOptions
from sr.image.format.png16 import decode_png16
from sr.image.pillow_file import GRAY_16_MODES, PillowFile, find_stored_box, turn_upright
from sr.image.pillow_writer import PillowFormat, build_animation, fit_metadata, select_options
from sr.image.png import find_png_damage, find_wrong_checksum, may_be_incomplete
from sr.image.png_writer import PngWriter

SRGB_GAMMA = 1 / 2.2
MAX_SIDE = 2**31 - 1


class PngFile(PillowFile):
    """A PNG file. Of 16 bits per channel Pillow decodes only gray; everything else needs sr[images]."""

    def __init__(self, path: Path, name: str, image: Image.Image) -> None:
        self._is_checked = False
        super().__init__(path, name, image)
        self._is_deep_color = self.header.dtype == torch.uint16 and image.mode not in GRAY_16_MODES
        self._layers: Tensor | None = None  # of such an image, uint16 [C, H, W] as stored
        if self._is_deep_color and self.header.frames > 1:
            raise UnsupportedImageError(
                f"{path}: an animated PNG of 16 bits a channel is not read; save its frames as PNG"
            )

    def check_decoded(self) -> None:
        """Raise an exception if a checksum is wrong, or if the compressed stream ends early: Pillow leaves the rest black."""
        if self._is_checked:
            return
        damage = find_wrong_checksum(self.path)
        if self.header.frames > 1 or may_be_incomplete(self.image):
            damage = damage or find_png_damage(self.path)
        if damage:
            raise ValueError(damage)
        self._is_checked = self.header.frames > 1  # the file, not only this frame of it

    def list_unread(self) -> tuple[str, ...]:
        """Return the names of the metadata that no result gets."""
        gamma = self.image.info.get("gamma", SRGB_GAMMA)
        is_other = abs(gamma - SRGB_GAMMA) > 0.01 and not {"srgb", "icc_profile"} & set(self.image.info)
        return super().list_unread() + (f"gamma {gamma:g}",) * is_other

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        if not self._is_deep_color:
            return super().read(frame, window)
        if self._layers is None:
            self._layers = torch.from_numpy(decode_png16(self.path)).permute(2, 0, 1)
        window = window or Window(0, 0, *self.header[:2])
        left, top, width, height = find_stored_box(window, self.orientation, self.image.size)
        part = turn_upright(self._layers[:, top : top + height, left : left + width], self.orientation).contiguous()
        count = self.header.channels
        return Frame(part[:count].clone(), part[count:].clone() if self.header.has_alpha else None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        super().close()
        self._layers = None


class PngFormat(PillowFormat):
    """PNG."""

    name, suffixes, decoders = "PNG", (".png", ".apng"), ("PNG",)
    held = ("icc", "exif", "xmp", "dpi", "durations", "texts")
    file_class = PngFile
    max_side, has_frames = MAX_SIDE, True

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, row by row; an animation is held until its end."""
        if header.frames > 1:
            return super().create(path, header, metadata, options)
        return PngWriter(path, header, fit_metadata(metadata, header))

    def limit_header(self, header: Header) -> Header:
        """Return the nearest header: 8 or 16 bits, the latter without further frames."""
        limited = super().limit_header(header)
        if header.dtype == torch.uint8 or header.frames > 1:
            return limited
        return limited._replace(dtype=torch.uint16, white=65535.0)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        chunks = PngImagePlugin.PngInfo()
        for key, text in metadata.texts.items():
            chunks.add_itxt(key, text)
        if metadata.xmp:
            chunks.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
        saved = select_options(icc_profile=metadata.icc, exif=metadata.exif, dpi=metadata.dpi)
        return {"pnginfo": chunks} | saved | build_animation(header, metadata)


FORMAT = PngFormat()
