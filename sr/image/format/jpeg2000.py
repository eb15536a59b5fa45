"""JPEG 2000: 8 bits per channel by Pillow, more by imagecodecs (pip install 'sr[images]'); lossless stays lossless.

Header fields are those of ISO/IEC 15444-1: annex A (codestream) and annex I (boxes of a JP2 file).
"""

import importlib.util
import io
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
from sr.image.file_format import (
    READ_ALL,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    WriteOptions,
)
from sr.image.format.geotiff_detect import check_directories
from sr.image.format.geotiff_library import is_rasterio_installed
from sr.image.pillow_writer import PillowFormat, stack_layers

START, CODING, TILE, END = b"\xff\x4f\xff\x51", b"\xff\x52", b"\xff\x90", b"\xff\xd9"  # markers
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
GEO_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")  # of GeoJP2
PROFILE_METHOD = 2  # of a `colr` box: an ICC profile follows
DEFAULT_QUALITY = 90
HEADER_BYTES = 1 << 20  # of a codestream, enough for its main header
MAX_PLACE_BYTES = 1 << 20  # of a GeoJP2 box
TAIL_BYTES = 64  # of a codestream, in which its end marker is


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
            for name, start, end in iterate_boxes(file):
                if name not in (b"colr", b"uuid"):
                    continue
                file.seek(start)
                data = file.read(end - start)
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
    has_quality = True
    file_class = Jpeg2000File
    max_side = 2**31 - 1
    read_options = ("bands", "range")

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file. Raise `UserError` if it is damaged or its pixels are not read.

        One that states its place on Earth, or some bands or a range of any, is opened by rasterio; its result is a GeoTIFF.
        """
        if options == READ_ALL and not (is_rasterio_installed() and has_place(path)):
            return super().open(path, options)
        from sr.image.format.geotiff import FORMAT as GEOTIFF

        read_codestream_header(path)  # raises if tiles are missing
        return GEOTIFF.open(path, options)

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
    """Return what the main header states. Raises `UserError` if it is damaged, or if tiles are missing."""
    with report_damage(path), path.open("rb") as file:
        start, end = next(((s, e) for name, s, e in iterate_boxes(file) if name in (b"jp2c", START)), (0, 0))
        file.seek(start)
        data = file.read(min(HEADER_BYTES, end - start))
        if not data.startswith(START):
            raise ValueError("its codestream is missing")
        width, height, left, top, tile_w, tile_h, tiles_left, tiles_top, channels = struct.unpack_from(">8IH", data, 8)
        depths = data[42 : 42 + 3 * channels : 3]
        bits = tuple((depth & 0x7F) + 1 for depth in depths)
        is_reversible, first = _find_coding_style(data)
        expected = -(-(width - tiles_left) // tile_w) * -(-(height - tiles_top) // tile_h)
        found = _count_tiles(file, start + first, end)
        if found < expected or width <= left or height <= top:
            raise ValueError(f"{found} of {expected} tiles are complete")
        return CodestreamHeader(bits, any(depth & 0x80 for depth in depths), is_reversible)


def _find_coding_style(data: bytes) -> tuple[bool, int]:
    """Return whether the wavelet is the reversible one, and where the first tile begins."""
    position, is_reversible = 2, False
    while data[position : position + 2] != TILE:
        is_reversible |= data[position : position + 2] == CODING and data[position + 13] == 1
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return is_reversible, position


def _count_tiles(file: BinaryIO, position: int, end: int) -> int:
    """Return the number of tiles whose parts are complete, up to the first that is not."""
    tiles = set()
    while position + 12 <= end:
        file.seek(position)
        marker, _, tile, size = struct.unpack(">2sHHI", file.read(10))
        if marker != TILE:
            break
        if size == 0:  # the last one, up to the end marker
            file.seek(max(position, end - TAIL_BYTES))
            return len(tiles | {tile}) if END in file.read(end - position) else len(tiles)
        position += size
        if size < 14 or position > end:
            break
        tiles.add(tile)
    return len(tiles)


def has_place(path: Path) -> bool:
    """Return True if a file states its place on Earth: by a GeoJP2 box, which holds a TIFF structure, or a GMLJP2 box.

    Raises `UserError` if the former is damaged.
    """
    found = False
    with report_damage(path), path.open("rb") as file:
        for name, start, end in iterate_boxes(file):
            file.seek(start)
            data = file.read(min(end - start, MAX_PLACE_BYTES)) if name in (b"uuid", b"asoc") else b""
            if data.startswith(GEO_UUID):
                check_directories(io.BytesIO(data[len(GEO_UUID) :]))
            found |= data.startswith(GEO_UUID) or b"gml.data" in data[:64]
    return found


def iterate_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each box that is no super box; of a bare codestream its first marker as the name."""
    file.seek(0)
    head, end = file.read(4), file.seek(0, 2)
    if head == START:
        yield START, 0, end
    else:
        yield from _iterate_boxes(file, 0, end)


def _iterate_boxes(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while position + 8 <= end:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        start = position + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            start += 8
        until = min(position + size, end) if size else end
        if name == b"jp2h":
            yield from _iterate_boxes(file, start, until)
        else:
            yield name, start, until
        position = max(until, start)
