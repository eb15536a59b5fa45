"""AVIF: RGB, with or without alpha; animations. 10 and 12 bits are read with sr[images], and written as 8."""

import importlib.util
import struct
from typing import Any

import numpy as np
from PIL import Image

from sr.image.color_profile import describe_color_space
from sr.image.damage import import_decoder
from sr.image.deep_file import DeepFile
from sr.image.file_format import Header, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, build_animation, select_options

DEFAULT_QUALITY = FULL_CHROMA_QUALITY = 90  # from the latter on, color has the resolution of the luma
HEAD_BYTES = 1 << 16  # of a file, enough for its boxes before the pixels


class AvifFile(DeepFile):
    """An AVIF file. Of more than 8 bits per channel Pillow drops the lower ones, and so it is read without sr[images]."""

    def find_bits(self, image: Image.Image) -> int:
        """Return the bits per channel."""
        with self.path.open("rb") as file:
            self._head = file.read(HEAD_BYTES)
        _, found, configuration = self._head.partition(b"av1C")  # AV1 in ISOBMFF, section 2.3.3
        flags = configuration[2] if found and len(configuration) > 2 else 0
        self._stated_bits = 8 + 2 * bool(flags & 0x40) + 2 * bool(flags & 0x20)  # high_bitdepth, twelve_bit
        has_decoder = importlib.util.find_spec("imagecodecs") and getattr(image, "n_frames", 1) == 1
        return self._stated_bits if has_decoder else 8

    def decode_deep(self) -> np.ndarray:
        """Return the image as uint16."""
        decoder = import_decoder("imagecodecs", self.path, "AVIF with more than 8 bits per channel")
        array = decoder.avif_decode(self.path.read_bytes())
        if array.ndim == 3 and self.header.channels == 1:  # imagecodecs reads gray with alpha as RGB
            return array[:, :, [0, 3] if self.header.has_alpha else [0]]
        return array

    def list_unread(self) -> tuple[str, ...]:
        """Return the names of the metadata that no result gets."""
        unread = super().list_unread()
        if self.bits < self._stated_bits:
            unread += (f"{self._stated_bits} bits per channel (8 are read; pip install 'sr[images]')",)
        _, found, color = self._head.partition(b"colrnclx")
        if found and len(color) > 4 and not self.image.info.get("icc_profile"):
            unread += tuple(describe_color_space(*struct.unpack(">HH", color[:4])))
        return unread


class AvifFormat(PillowFormat):
    """AVIF."""

    name, suffixes, decoders = "AVIF", (".avif", ".avifs"), ("AVIF",)
    has_quality = True
    held = ("icc", "exif", "xmp", "durations")
    file_class = AvifFile
    max_side, has_frames = 65536, True

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        saved = select_options(icc_profile=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)
        quality = options.quality or DEFAULT_QUALITY
        chroma = "4:4:4" if quality >= FULL_CHROMA_QUALITY and header.channels == 3 else None
        return {"quality": quality} | select_options(subsampling=chroma) | saved | build_animation(header, metadata)


FORMAT = AvifFormat()
