"""Decode the pixels of DICOM files: compressed or not, signed or not, gray, RGB, YBR and palettes, frame by frame."""

import contextlib
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sr.image.damage import UnsupportedImageError
from sr.image.format.dicom_header import COLOR, PALETTE, DicomSource, PixelLayout
from sr.image.format.dicom_library import DicomDamageError
from sr.image.jpeg_scan import JpegDamageError, check_jpeg_scans, find_frame_size

if TYPE_CHECKING:
    from pydicom import Dataset

RLE = "1.2.840.10008.1.2.5"
JPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81))  # and JPEG-LS
J2K = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
RLE_NOTHING = 128  # the code that stands for nothing
END_OF_IMAGE = b"\xff\xd9"
CODESTREAMS = (*JPEG, *J2K)


def decode_frame(path: Path, source: DicomSource, file: BinaryIO, frame: int) -> np.ndarray:
    """Return a frame `[H, W, 1 or 3]`: values as they are stored, int32 of gray; uint8 or uint16 of color, which is RGB.

    `file` is that of `open_pixels`. Exceptions may be of any kind.
    """
    from pydicom.pixels import get_decoder

    layout = source.layout
    decoder = get_decoder(source.syntax)
    # Pillow drops signs of JPEG 2000, and pylibjpeg-rle panics on damaged files.
    wanted = {**dict.fromkeys(J2K, "pylibjpeg"), RLE: "pydicom"}.get(source.syntax, "")
    plugin = wanted if wanted in decoder.available_plugins else ""
    if source.syntax in (*CODESTREAMS, RLE):
        _check_compressed(source, file, frame)
    file.seek(source.offset)
    # Bits beyond those that are stored are handled below: pydicom does not know HighBit.
    with _report_decoder(source):
        array, _ = decoder.as_array(
            file, index=frame, raw=layout.photometric not in COLOR, decoding_plugin=plugin, correct_unused_bits=False,
            rows=layout.rows, columns=layout.columns, number_of_frames=layout.frames, samples_per_pixel=layout.samples,
            bits_allocated=layout.allocated, bits_stored=layout.stored, pixel_representation=int(layout.is_signed),
            photometric_interpretation=layout.photometric, pixel_keyword="PixelData", pixel_vr=source.vr,
            transfer_syntax_uid=source.syntax, **_list_offsets(source), **_read_planes(source),
        )  # fmt: skip
    if array.shape[:2] != (layout.rows, layout.columns):
        raise DicomDamageError(
            f"{array.shape[1]}×{array.shape[0]} pixels, its header announces {layout.columns}×{layout.rows}"
        )
    if layout.photometric == PALETTE:
        return _apply_palette(path, _take_bits(path, array, source), source.dataset)
    if layout.is_gray:
        return _take_bits(path, array, source)[:, :, None]
    return array


@contextlib.contextmanager
def _report_decoder(source: DicomSource) -> Iterator[None]:
    """Name the compression in the place of a decoder's own message."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        raise DicomDamageError(f"its pixels cannot be decoded as {source.syntax.name}") from None


def _check_compressed(source: DicomSource, file: BinaryIO, frame: int) -> None:
    """Raise `DicomDamageError` for damage of a compressed frame that its decoder does not report."""
    from pydicom.encaps import get_frame

    file.seek(source.offset)
    data = get_frame(file, frame, number_of_frames=source.layout.frames, **_list_offsets(source))
    if source.syntax == RLE:
        _check_rle(data, source.layout)
    else:
        _check_codestream(data, source)


def _check_codestream(data: bytes, source: DicomSource) -> None:
    """Raise `DicomDamageError` if a JPEG stream is damaged, or states another size than the header, which would be allocated."""
    size = find_codestream_size(data)
    if size != (source.layout.rows, source.layout.columns):
        raise DicomDamageError(f"its compressed pixels state another size than its header: {size or 'none'}")
    if source.syntax in JPEG:
        if not data.rstrip(b"\0").endswith(END_OF_IMAGE):  # CharLS would search for it for minutes
            raise DicomDamageError("its compressed pixels end early")
        try:
            check_jpeg_scans(data)
        except JpegDamageError as error:
            raise DicomDamageError(str(error)) from None


def _check_rle(data: bytes, layout: PixelLayout) -> None:
    """Raise `DicomDamageError` if a decoded segment does not have the length of its plane (PS3.5, annex G)."""
    count, *starts = struct.unpack_from("<16I", data.ljust(64, b"\0"))
    expected = layout.samples * layout.allocated // 8
    starts = [*starts[:count], len(data)]
    if count != expected or starts[0] != 64 or starts != sorted(starts):
        raise DicomDamageError("the header of its compressed pixels is wrong")
    for start, end in itertools.pairwise(starts):
        place, left = start, layout.rows * layout.columns
        while left > 0 and place < end:
            code = data[place]
            place += 1
            if code < RLE_NOTHING:  # the next bytes, as they are
                place, left = place + code + 1, left - code - 1
            elif code > RLE_NOTHING:  # the next byte, repeated
                place, left = place + 1, left - (257 - code)
        if left or place > end or data[place:end].strip(b"\0\x80"):  # more than padding follows
            raise DicomDamageError("its compressed pixels do not have the length of the image")


def find_codestream_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of a JPEG, JPEG-LS or JPEG 2000 codestream; None if it has no such marker."""
    siz = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # a file of JP2 has boxes before it
    if siz >= 0 and len(data) >= siz + 24:
        width, height, left, top = struct.unpack_from(">4I", data, siz + 8)
        return height - top, width - left
    return find_frame_size(data)


def _read_planes(source: DicomSource) -> dict[str, int]:
    """Return whether the channels of color are planes, one after the other: of what is not color, nothing."""
    return (
        {"planar_configuration": int(source.dataset.get("PlanarConfiguration") or 0)}
        if source.layout.samples > 1
        else {}
    )


def _list_offsets(source: DicomSource) -> dict[str, tuple[bytes, bytes]]:
    tables = [source.dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    return {"extended_offsets": tuple(tables)} if all(tables) else {}


def _take_bits(path: Path, array: np.ndarray, source: DicomSource) -> np.ndarray:
    """Return the stored bits as int32 `[H, W]`. Bits above them are a sign, or an overlay (in files of before 2007)."""
    layout, values = source.layout, array.astype(np.int32)
    span = 1 << layout.stored
    stored = (values >> (layout.high_bit + 1 - layout.stored)) & (span - 1)
    if layout.is_signed:
        return np.where(stored >= span >> 1, stored - span, stored)
    if (values >> (layout.high_bit + 1)).any() and not has_embedded_overlay(source.dataset):
        raise UnsupportedImageError(
            f"{path}: pixels above the {layout.stored} bits that its BitsStored states; correct it first"
        )
    return stored


def has_embedded_overlay(dataset: "Dataset") -> bool:
    """Return True if unused bits of the pixels are an overlay: OverlayBitPosition (60xx,0102)."""
    return any(tag.group >> 8 == 0x60 and tag.element == 0x0102 and dataset[tag].value for tag in dataset.keys())  # noqa: SIM118


def _apply_palette(path: Path, indices: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """Return RGB `[H, W, 3]` of indices `[H, W]`, uint8, or uint16 if the palette has more than 8 bits (C.7.6.3.1.5)."""
    tables = [_read_table(path, dataset, color) for color in ("Red", "Green", "Blue")]
    first = int(dataset.RedPaletteColorLookupTableDescriptor[1])
    table = np.stack(tables, axis=1)
    if table.dtype == np.uint16 and np.isin(table & 0xFF, (0, 0xFF)).all() | np.array_equal(table >> 8, table & 0xFF):
        table = (table >> 8).astype(np.uint8)  # 8 bits that are written as 16
    return table[np.clip(indices - first, 0, len(table) - 1)]


def _read_table(path: Path, dataset: "Dataset", color: str) -> np.ndarray:
    count, _, bits = dataset[f"{color}PaletteColorLookupTableDescriptor"].value
    count = int(count) & 0xFFFF or 1 << 16
    segmented = dataset.get(f"Segmented{color}PaletteColorLookupTableData")
    data = dataset.get(f"{color}PaletteColorLookupTableData")
    if data is None or segmented:
        raise UnsupportedImageError(f"{path}: a segmented palette in DICOM is not read; convert it to PNG")
    order = "<" if dataset.is_little_endian else ">"
    is_wide = bits > 8 or len(data) >= 2 * count
    table = np.frombuffer(data, f"{order}u2" if is_wide else np.uint8)[:count]
    if len(table) < count:
        raise DicomDamageError(f"its palette has {len(table)} of {count} colors")
    return table.astype(np.uint16 if bits > 8 else np.uint8)
