"""JPEG 2000: 8 bits per channel by Pillow, more by imagecodecs (pip install 'sr[images]'); lossless stays lossless.

Header fields are those of ISO/IEC 15444-1: annex A (codestream) and annex I (boxes of a JP2 file).
"""

import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image

from sr.image.damage import UnsupportedImageError, import_decoder, report_damage
from sr.image.deep_file import DeepFile
from sr.image.exif import clean_xmp
from sr.image.file_format import Frame, Header, ImageWriter, Metadata, WriteOptions
from sr.image.pillow_writer import PillowFormat, stack_layers

START, SIZE, CODING = b"\xff\x4f\xff\x51", b"\xff\x51", b"\xff\x52"  # markers
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
PROFILE_METHOD = 2  # of a `colr` box: an ICC profile follows
DEFAULT_QUALITY = 90
HEADER_BYTES = 1 << 16  # of a codestream, enough for its main header's first segments


class Jpeg2000Native(NamedTuple):
    """Hold what only a JPEG 2000 writer uses of a file."""

    is_reversible: bool  # the wavelet that lossless files have


class CodestreamHeader(NamedTuple):
    """Hold what the main header of a codestream states."""

    bits: tuple[int, ...]  # of each channel
    is_signed: bool
    is_reversible: bool


class Jpeg2000File(DeepFile):
    """A JPEG 2000 file."""

    def find_bits(self, image: Image.Image) -> int:
        """Return the bits per channel."""
        self._codestream = read_codestream_header(self.path)
        bits = max(self._codestream.bits)
        if bits > 8 and (len(set(self._codestream.bits)) > 1 or self._codestream.is_signed or bits > 16):
            found = ", ".join(map(str, self._codestream.bits))
            raise UnsupportedImageError(
                f"{self.path}: channels of {found} bits, signed or of several depths; convert it"
            )
        return bits

    def decode_deep(self) -> np.ndarray:
        """Return the image as uint16."""
        decoder = import_decoder("imagecodecs", self.path, "JPEG 2000 with more than 8 bits per channel")
        return decoder.jpeg2k_decode(self.path.read_bytes())

    @property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata of the file, of which Pillow reads no color profile and no XMP."""
        icc = xmp = None
        others = 0
        with report_damage(self.path), self.path.open("rb") as file:
            for name, data in iterate_boxes(file):
                if name == b"colr" and data[:1] == bytes([PROFILE_METHOD]):
                    icc = data[3:]
                elif name == b"uuid" and data.startswith(XMP_UUID):
                    xmp = clean_xmp(data[16:])
                else:
                    others += name == b"uuid"
        unread = ("metadata in UUID boxes",) if others else ()
        metadata = super().metadata
        return metadata._replace(
            icc=icc or metadata.icc, xmp=xmp or metadata.xmp, unread=metadata.unread + unread,
            native=Jpeg2000Native(self._codestream.is_reversible),
        )  # fmt: skip


class Jpeg2000Format(PillowFormat):
    """JPEG 2000."""

    name, suffixes, decoders = "JPEG 2000", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), ("JPEG2000",)
    file_class = Jpeg2000File
    max_side = 2**31 - 1

    def limit_header(self, header: Header) -> Header:
        """Return the header of the file that is next to `header`: 16 bits need imagecodecs."""
        limited = super().limit_header(header)
        if header.dtype == torch.uint8 or not importlib.util.find_spec("imagecodecs"):
            return limited
        return limited._replace(dtype=torch.uint16, white=65535.0)

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        if header.dtype == torch.uint16:
            return DeepJpeg2000Writer(path, header, self.choose_quality(metadata, options))
        return super().create(path, header, metadata, options)

    def build_options(self, header: Header, metadata: Metadata, options: WriteOptions) -> dict[str, Any]:
        """Return the arguments of `Image.save`."""
        quality = self.choose_quality(metadata, options)
        if not quality:
            return {"irreversible": False}
        return {"irreversible": True, "quality_mode": "dB", "quality_layers": [quality]}

    def choose_quality(self, metadata: Metadata, options: WriteOptions) -> float:
        """Return the PSNR in dB, or 0 for lossless: as a reversible source is, unless a quality is asked for."""
        is_reversible = isinstance(metadata.native, Jpeg2000Native) and metadata.native.is_reversible
        if options.lossless or (is_reversible and options.quality is None):
            return 0.0
        return 25 + (options.quality or DEFAULT_QUALITY) / 4  # 47.5 dB for 90


class DeepJpeg2000Writer(ImageWriter):
    """Collect the rows of an image of 16 bits, and encode it at the end."""

    def __init__(self, path: Path, header: Header, quality: float) -> None:
        self._path, self._header, self._quality = path, header, quality
        self._rows: list[np.ndarray] = []

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]`."""
        self._rows.append(stack_layers(frame))

    def close(self) -> None:
        """Complete the file."""
        import imagecodecs

        array = np.concatenate(self._rows)
        array = array[:, :, 0] if array.shape[2] == 1 else array
        data = imagecodecs.jpeg2k_encode(array, level=self._quality, reversible=not self._quality)
        self._path.write_bytes(data)


FORMAT = Jpeg2000Format()


def read_codestream_header(path: Path) -> CodestreamHeader:
    """Return what the main header states. Raises `UserError` if it is damaged."""
    with report_damage(path), path.open("rb") as file:
        data = b""
        if file.read(4) == START:
            file.seek(0)
            data = file.read(HEADER_BYTES)
        else:
            data = next((content for name, content in iterate_boxes(file) if name == b"jp2c"), b"")
        if not data.startswith(START):
            raise ValueError("its codestream is missing")
        (channels,) = struct.unpack_from(">H", data, 40)
        depths = data[42 : 42 + 3 * channels : 3]
        bits = tuple((depth & 0x7F) + 1 for depth in depths)
        # The segments follow each other until the first tile; that of the coding style is one of the first.
        position = 2
        while data[position : position + 2] not in (CODING, b"\xff\x90", b""):
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        is_reversible = data[position : position + 2] == CODING and data[position + 13] == 1
        return CodestreamHeader(bits, any(depth & 0x80 for depth in depths), is_reversible)


def iterate_boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each box that is no super box; of the codestream only the beginning."""
    yield from _iterate_boxes(file, 0, file.seek(0, 2))


def _iterate_boxes(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    while position + 8 <= end:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        start = position + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            start += 8
        until = position + size if size else end
        if until <= start - 1 or until > end:
            until = end  # truncated, or damaged
        if name == b"jp2h":
            yield from _iterate_boxes(file, start, until)
        else:
            file.seek(start)
            yield name, file.read(min(until - start, HEADER_BYTES if name == b"jp2c" else until - start))
        position = max(until, start)
