"""Read what the header of a DICOM file says of its pixels, and refuse by name what is no image or is not decoded.

Section and attribute numbers are those of the DICOM standard (https://www.dicomstandard.org/current).
"""

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from sr.image.damage import UnsupportedImageError
from sr.image.format.dicom_damage import check_end, check_geometry, is_cut_short, list_header_notes, list_meta_notes
from sr.image.format.dicom_library import DicomDamageError, import_pydicom, report_dicom_damage
from sr.runtime.free_memory import measure_free_memory

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_SIDE = 65535  # pixels: Rows and Columns are of 16 bits
GRAY, COLOR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
PIXEL_DATA, FLOAT_PIXELS = (0x7FE0, 0x0010), ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
VRS = (b"OB", b"OW", b"UN")
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
ROOT = "1.2.840.10008.5.1.4.1.1."
REFUSED = {  # how storage classes begin that hold no image, or none whose values may be made up
    "481.1": "",  # RT images are images
    "481.": "radiotherapy data", "66.": "a segmentation, registration or raw data", "88.": "a structured report",
    "104.": "a document", "9.": "a waveform", "11.": "a presentation state", "77.1.6": "a whole-slide image",
    "30": "a parametric map", "67": "a mapping of values", "68.": "a surface",
}  # fmt: skip


class PixelLayout(NamedTuple):
    """Describe the pixels of a file as its header does."""

    rows: int
    columns: int
    frames: int
    samples: int  # 1 or 3
    allocated: int  # bits: 8 or 16
    stored: int  # bits that are used
    high_bit: int
    is_signed: bool
    photometric: str

    @property
    def frame_bytes(self) -> int:
        """The bytes of a frame that is not compressed."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated // 8

    @property
    def is_gray(self) -> bool:
        """True for one channel whose values are intensities."""
        return self.photometric in GRAY


class DicomSource(NamedTuple):
    """The header of a file, and where its pixels are."""

    dataset: "Dataset"  # without the pixels, and what follows them
    layout: PixelLayout
    syntax: Any  # UID of the transfer syntax
    offset: int  # of the value of the pixel data; of a file that is deflated: in what is unpacked
    vr: str  # OB or OW; OW if it is not stated
    notes: tuple[str, ...]  # about signs of damage

    def open_pixels(self, path: Path) -> BinaryIO:
        """Open the file, or what is unpacked of it, and go to the value of the pixel data."""
        file = io.BytesIO(_inflate(path)) if self.syntax == DEFLATED else path.open("rb")
        file.seek(self.offset)
        return file


def read_source(path: Path) -> DicomSource:
    """Read the header of a DICOM file. Raise `UserError`, which quotes no value, if it is damaged or its pixels are not read."""
    pydicom = import_pydicom(path)
    with report_dicom_damage(path), path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        _require_image(path, dataset)
        if not syntax:
            raise DicomDamageError("it does not state its transfer syntax")
        if syntax == DEFLATED:
            with io.BytesIO(_inflate(path)) as unpacked:
                unpacked.seek(_find_end_of_meta(path))
                pydicom.filereader.read_dataset(unpacked, False, True, stop_when=_is_pixel_data)
                return _describe(path, pydicom, dataset, unpacked)
        return _describe(path, pydicom, dataset, file)


def _describe(path: Path, pydicom: Any, dataset: "Dataset", file: BinaryIO) -> DicomSource:
    """Return the description of a file that is at its pixel data."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if is_cut_short(dataset):
        raise DicomDamageError("its header cannot be read to the end")
    offset, vr, length = _read_pixel_tag(path, file, syntax, "Rows" in dataset)
    layout = _read_layout(path, dataset)
    _require_decoder(path, pydicom, syntax, layout)
    _require_pixels(syntax, layout, length, file.seek(0, io.SEEK_END) - offset)
    check_geometry(dataset)
    file.seek(offset)
    notes = check_end(file, syntax, length, layout.frames * layout.frame_bytes)
    with path.open("rb") as whole:
        notes = *list_meta_notes(whole), *list_header_notes(dataset), *notes
    return DicomSource(dataset, layout, syntax, offset, vr, tuple(dict.fromkeys(notes)))


def read_int(dataset: "Dataset", keyword: str, default: int | None = None) -> int:
    """Return a whole number of the header. Raise `DicomDamageError` if it is missing or none."""
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise DicomDamageError(f"its header has no {keyword}")
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise DicomDamageError(f"its {keyword} is no number") from None


def _require_image(path: Path, dataset: "Dataset") -> None:
    storage = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    tail = storage.removeprefix(ROOT) if storage.startswith(ROOT) else ""
    found = next((name for start, name in REFUSED.items() if f"{tail}.".startswith(start)), "")
    if found:
        from pydicom.uid import UID

        raise UnsupportedImageError(
            f"{path}: this DICOM file holds no image but {found} ({UID(storage).name}); leave it out"
        )


def _is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
    return tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)


def _read_pixel_tag(path: Path, file: BinaryIO, syntax: Any, has_size: bool) -> tuple[int, str, int]:
    """Return offset, VR and length of the value of the pixel data, whose tag `file` is at."""
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8)
    if len(head) < 8 and has_size:
        raise DicomDamageError("it ends before its pixels")
    if len(head) < 8:
        raise UnsupportedImageError(f"{path}: this DICOM file holds no image (it has no pixel data); leave it out")
    tag = struct.unpack(f"{order}HH", head[:4])
    if tag in FLOAT_PIXELS:
        raise UnsupportedImageError(f"{path}: floating-point pixels in DICOM are not read; convert it to TIFF")
    if tag != PIXEL_DATA:
        raise DicomDamageError("its header cannot be read to the end")
    if head[4:6] not in VRS:  # implicit, whatever the transfer syntax says
        return file.seek(0, io.SEEK_CUR), "OW", struct.unpack(f"{order}I", head[4:])[0]
    (length,) = struct.unpack(f"{order}I", file.read(4))
    return file.seek(0, io.SEEK_CUR), head[4:6].decode("latin1"), length


def _read_layout(path: Path, dataset: "Dataset") -> PixelLayout:
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    samples, allocated = read_int(dataset, "SamplesPerPixel", 1), read_int(dataset, "BitsAllocated")
    stored, representation = read_int(dataset, "BitsStored", allocated), read_int(dataset, "PixelRepresentation", 0)
    layout = PixelLayout(
        read_int(dataset, "Rows"), read_int(dataset, "Columns"), read_int(dataset, "NumberOfFrames", 1) or 1, samples,
        allocated, stored, read_int(dataset, "HighBit", stored - 1), representation == 1, photometric,
    )  # fmt: skip
    if not (0 < layout.rows <= MAX_SIDE and 0 < layout.columns <= MAX_SIDE and layout.frames > 0):
        raise DicomDamageError(f"{layout.columns}×{layout.rows} pixels in {layout.frames} frames")
    if photometric not in (*GRAY, *COLOR, PALETTE) or samples != (3 if photometric in COLOR else 1):
        known = (
            photometric if photometric.replace("_", "").replace(" ", "").isalnum() and len(photometric) < 20 else "?"
        )
        raise UnsupportedImageError(f"{path}: {samples} channels of {known} in DICOM are not read; convert it to PNG")
    if allocated not in (8, 16):
        raise UnsupportedImageError(f"{path}: {allocated} bits allocated for a pixel of DICOM are not read; convert it")
    if representation not in (0, 1):
        raise DicomDamageError(f"its PixelRepresentation is {representation}")
    if not (0 < stored <= allocated and stored - 1 <= layout.high_bit < allocated):
        raise DicomDamageError(f"{stored} bits stored of {allocated}, the highest one number {layout.high_bit}")
    if photometric in COLOR and (layout.high_bit != stored - 1 or (allocated == 8 and stored != 8)):
        raise DicomDamageError(
            f"{stored} bits stored of {allocated} in color, the highest one number {layout.high_bit}"
        )
    return layout


def _require_decoder(path: Path, pydicom: Any, syntax: Any, layout: PixelLayout) -> None:
    """Raise `UnsupportedImageError`, which names the compression and what it needs, if the pixels cannot be decoded."""
    name = syntax.name if syntax.is_private is False and syntax.name != syntax else "a private or unknown method"
    start = f"{path}: DICOM compressed as {name}"
    if syntax in VIDEO:
        raise UnsupportedImageError(
            f"{path}: this DICOM file holds a video ({name}); extract it, and give that to sr.predict"
        )
    needs_libjpeg = syntax in JPEG_LOSSLESS or (syntax == JPEG_EXTENDED and layout.stored > 8)
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedImageError(f"{start} is not read; decompress it first (dcmdjpeg, gdcmconv --raw)") from None
    plugins = set(decoder.available_plugins) - ({"pillow"} if needs_libjpeg else set())
    if decoder.is_native or plugins:
        return
    if needs_libjpeg:
        raise UnsupportedImageError(
            f"{start} needs pylibjpeg-libjpeg, whose license is GPL-3: install it yourself, or decompress the file (dcmdjpeg)"
        )
    raise UnsupportedImageError(f"{start} needs a decoder: pip install 'sr[medical]'")


def _require_pixels(syntax: Any, layout: PixelLayout, length: int, available: int) -> None:
    """Raise `DicomDamageError` if the file is too small for the pixels that its header announces."""
    if not syntax.is_encapsulated:
        found = available if length == 0xFFFFFFFF else min(length, available)
        if found < layout.frames * layout.frame_bytes:
            raise DicomDamageError(f"its pixels end after {found} of {layout.frames * layout.frame_bytes} bytes")
    elif layout.frames > available // 8:  # each one has a header of 8 bytes
        raise DicomDamageError(f"its header announces {layout.frames} frames, more than {available} bytes can hold")


def _find_end_of_meta(path: Path) -> int:
    """Return where the data set begins: after the preamble and the group 0002, whose length is in its first element."""
    with path.open("rb") as file:
        file.seek(132)
        tag = file.read(12)
        if tag[:8] != b"\x02\0\0\0UL\x04\0":
            raise DicomDamageError("its file meta information has no length")
        return 144 + struct.unpack("<I", tag[8:])[0]


def _inflate(path: Path) -> bytes:
    """Return a deflated file unpacked, with its preamble and meta information; no more than half of the free memory."""
    start, limit = _find_end_of_meta(path), measure_free_memory() // 2
    data = path.read_bytes()
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = unpacker.decompress(data[start:], limit)
    if unpacker.unconsumed_tail:
        raise DicomDamageError("more than half of the free memory when it is unpacked")
    if not unpacker.eof:
        raise DicomDamageError("what it holds cannot be unpacked to the end")
    return data[:start] + unpacked
