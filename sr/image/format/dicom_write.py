"""Write DICOM files row by row: explicit VR little endian, not compressed, with the header that `dicom_derive` makes."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sr.image.file_format import Frame, Header, ImageWriter, WriteOptions
from sr.image.format.dicom_derive import derive_dataset
from sr.image.format.dicom_header import DicomSource
from sr.image.format.dicom_pixels import has_embedded_overlay
from sr.runtime.error import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

SMALLEST, LARGEST = 0x00280106, 0x00280107  # SmallestImagePixelValue, LargestImagePixelValue
OVERLAYS, CURVES, ICON, MAC, SIGNATURES = 0x60, 0x50, 0x00880200, 0x4FFE0001, 0xFFFAFFFA


class DicomNative(NamedTuple):
    """Hold what only a DICOM writer uses of a DICOM file."""

    path: Path
    source: DicomSource
    offset: int  # that was added to the stored numbers
    find_padding: Callable[[int], np.ndarray] | None  # frame -> where it has no data, bool [h, w]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what a result of another format has not."""
        dataset, names = self.source.dataset, ["data of patient, study and series"]
        names += ["pixel spacing and position"] * ("PixelSpacing" in dataset or "ImagePositionPatient" in dataset)
        names += ["rescale slope and intercept"] * ("RescaleSlope" in dataset)
        return (*names, *["window"] * ("WindowWidth" in dataset))


def list_lost_parts(dataset: "Dataset") -> list[str]:
    """Return the names of what no result gets, because it is of the size or of the pixels of the source."""
    groups = {tag.group >> 8 for tag in dataset.keys()}  # noqa: SIM118  iterating a data set decodes its elements
    lost = ["overlays"] * (OVERLAYS in groups or has_embedded_overlay(dataset)) + ["curves"] * (CURVES in groups)
    lost += ["icon"] * (ICON in dataset)
    return lost + ["digital signatures"] * (MAC in dataset or SIGNATURES in dataset)


class DicomWriter(ImageWriter):
    """A DICOM file whose pixels are written as the rows come; the smallest and the largest value are filled in at the end."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, native: DicomNative, options: WriteOptions) -> None:
        layout = native.source.layout
        is_deep = header.dtype == torch.uint16
        if header.dtype not in (torch.uint8, torch.uint16) or (layout.is_gray and is_deep != (layout.stored > 8)):
            raise UserError(
                f"depth: expected the bits of {native.path}, which a DICOM result has; leave it out, or choose format=png"
            )
        self.header, self.native = header, native
        self.is_gray = layout.is_gray and header.channels == 1
        self.dataset = derive_dataset(native.source, header, native.offset, options)
        self._is_signed = bool(self.dataset.PixelRepresentation)
        self._type = np.dtype(f"<{'iu'[not self._is_signed]}{self.dataset.BitsAllocated // 8}")
        self._low, self._high = np.inf, -np.inf
        self._frame = self._row = 0  # that comes next
        self._mask: np.ndarray | None = None  # where the current frame of the source has no data
        self._size = header.frames * header.height * header.width * header.channels * self._type.itemsize
        self._file = path.open("wb")
        try:
            self._limits = self._write_header()
        except BaseException:
            self._file.close()
            raise

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current frame."""
        rows = frame.pixels.permute(1, 2, 0).contiguous().cpu().numpy()
        while len(rows):
            count = min(len(rows), self.header.height - self._row)
            self._file.write(self._to_stored(rows[:count]).tobytes())
            rows, self._row = rows[count:], self._row + count
            if self._row == self.header.height:
                self._row, self._frame, self._mask = 0, self._frame + 1, None

    def close(self) -> None:
        """Complete the file."""
        self._file.write(bytes(self._size % 2))
        if self._limits is not None and self._high >= self._low:
            self._file.seek(self._limits)
            for tag, value in ((SMALLEST, self._low), (LARGEST, self._high)):
                self._file.write(_pack_limit(tag, int(value), self._is_signed))
        self._file.close()

    def _to_stored(self, rows: np.ndarray) -> np.ndarray:
        """Return rows `[rows, W, channels]` as they are stored."""
        if not self.is_gray:
            return rows.astype(self._type)
        bits, signed = self.dataset.BitsStored, self._is_signed
        lowest = -(1 << (bits - 1)) if signed else 0
        levels = np.clip(rows.astype(np.int32) - self.native.offset, lowest, lowest + (1 << bits) - 1)
        mask = self._find_padding(len(rows))
        seen = levels if mask is None else levels[~mask]
        if seen.size:
            self._low, self._high = min(self._low, seen.min()), max(self._high, seen.max())
        if mask is not None:
            levels[mask] = int(self.dataset.PixelPaddingValue)
        return levels.astype(self._type)

    def _find_padding(self, count: int) -> np.ndarray | None:
        """Return where the next rows have no data, as the pixel of the source in which each center lies; None: nowhere."""
        if self.native.find_padding is None:
            return None
        if self._mask is None:
            self._mask = self.native.find_padding(self._frame)
        height, width = self._mask.shape
        rows = (np.arange(self._row, self._row + count) + 0.5) * height / self.header.height
        columns = (np.arange(self.header.width) + 0.5) * width / self.header.width
        return self._mask[rows.astype(int)][:, columns.astype(int), None]

    def _write_header(self) -> int | None:
        """Write all that precedes the pixels, and return where the smallest and the largest value are to be filled in."""
        from pydicom.filebase import DicomBytesIO
        from pydicom.filewriter import write_dataset, write_file_meta_info

        file = DicomBytesIO()
        file.is_little_endian, file.is_implicit_VR = True, False
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, self.dataset.file_meta, enforce_standard=True)
        limits = None
        if self.is_gray and SMALLEST in self.native.source.dataset:
            write_dataset(file, self.dataset[:SMALLEST])
            limits = len(file.getvalue())
            for tag in (SMALLEST, LARGEST):
                file.write(_pack_limit(tag, 0, self._is_signed))
            write_dataset(file, self.dataset[LARGEST + 1 :])
        else:
            write_dataset(file, self.dataset)
        is_wide = self._type.itemsize > 1
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW" if is_wide else b"OB", 0, self._size + self._size % 2))
        self._file.write(file.getvalue())
        return limits


def _pack_limit(tag: int, value: int, is_signed: bool) -> bytes:
    return struct.pack(
        "<HH2sHh" if is_signed else "<HH2sHH", tag >> 16, tag & 0xFFFF, b"SS" if is_signed else b"US", 2, value
    )
