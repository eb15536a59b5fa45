"""DICOM images: gray of 8 to 16 bits, signed or not, RGB, YBR, palettes, multi-frame (pip install 'sr[medical]').

The standard: https://www.dicomstandard.org/current. Patient data are copied into results and never into a message. Values
are those that are stored; `dicom_range` says which of them are 0 and 1 for a network.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sr.image.file_format import (
    READ_ALL,
    FileFormat,
    Frame,
    Header,
    ImageFile,
    ImageWriter,
    Metadata,
    ReadOptions,
    Window,
    WriteOptions,
)
from sr.image.format.dicom_header import MAX_SIDE, PALETTE, DicomSource, read_source
from sr.image.format.dicom_library import report_dicom_damage
from sr.image.format.dicom_pixels import decode_frame
from sr.image.format.dicom_range import compute_levels, find_range, read_padding, read_window
from sr.image.format.dicom_write import DicomNative, DicomWriter, list_lost_parts
from sr.image.limits import check_decoded_size
from sr.runtime.error import UserError

MAX_BYTES = 0xFFFF_FFFE  # of pixels that are not compressed: the length is a number of 32 bits


class DicomFile(ImageFile):
    """A DICOM file. Signed pixels are read as unsigned ones: `offset` is added to them."""

    def __init__(self, path: Path, source: DicomSource, options: ReadOptions) -> None:
        self.path, self.source = path, source
        layout = source.layout
        self.offset = 1 << (layout.stored - 1) if layout.is_signed and layout.is_gray else 0
        self.has_palette = layout.photometric == PALETTE
        self._pixels = source.open_pixels(path)
        self._frame, self._layers = -1, None
        self._clipped = options.range is not None and layout.is_gray
        self.padding = read_padding(source.dataset) if layout.is_gray else None
        check_decoded_size(path, layout.rows, layout.columns, 8 * layout.samples)
        self.notes = source.notes
        self.header = self._describe(options)

    def _describe(self, options: ReadOptions) -> Header:
        layout = self.source.layout
        size = layout.rows, layout.columns
        if not layout.is_gray:
            dtype = self._decode(0).dtype if self.has_palette else np.dtype(f"u{layout.allocated // 8}")
            white = 2.0 ** (layout.stored if dtype == np.uint16 and not self.has_palette else 8 * dtype.itemsize) - 1
            return Header(*size, "color", layout.frames, "DICOM", 3, dtype=_to_torch(dtype), white=white)
        found = find_range(self.path, self.source, options.range)
        black, white = compute_levels(self.source.dataset, found[:2])
        if (black, white) != (0, 255):
            self.notes += (f"black and white for the network are {found.low:g} and {found.high:g} ({found.origin})",)
        window = read_window(self.source.dataset)
        limits = (black, white) if window is None else compute_levels(self.source.dataset, window)
        if layout.photometric == "MONOCHROME1":  # the lowest value is white
            black, white, limits = white, black, limits[::-1]
        self.display = limits[0] + self.offset, limits[1] + self.offset
        dtype = torch.uint8 if layout.stored <= 8 else torch.uint16
        return Header(*size, "gray", layout.frames, "DICOM", 1, False, dtype, black + self.offset, white + self.offset)

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata: what a DICOM result gets is in `native`."""
        dataset, frames = self.source.dataset, self.source.layout.frames
        with report_dicom_damage(self.path):
            time = dataset.get("FrameTime")
            return Metadata(
                icc=dataset.get("ICCProfile") or None,
                durations=(float(time),) * frames if time and frames > 1 else (),
                unread=tuple(list_lost_parts(dataset)),
                native=DicomNative(self.path, self.source, self.offset, self.padding and self._find_padding),
            )

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Decode a frame, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        with report_dicom_damage(self.path):
            layers = self._decode(frame)
            top, left, height, width = window or Window(0, 0, *self.header[:2])
            part = layers[top : top + height, left : left + width].transpose(2, 0, 1)
            if not self.source.layout.is_gray:
                return Frame(torch.from_numpy(np.array(part, order="C")), None)
            return Frame(self._to_unsigned(part), None)

    def close(self) -> None:
        """Close the file, and release what was decoded."""
        self._pixels.close()
        self._layers = None

    def _decode(self, frame: int) -> np.ndarray:
        if frame != self._frame or self._layers is None:
            self._layers = None
            self._layers, self._frame = decode_frame(self.path, self.source, self._pixels, frame), frame
        return self._layers

    def _to_unsigned(self, levels: np.ndarray) -> Tensor:
        """Return stored numbers, int32, as the header has them. No data becomes black; DicomWriter puts it back."""
        header = self.header
        levels = levels + self.offset
        if self.padding:
            levels = np.where(self._is_padding(levels - self.offset), round(header.black), levels)
        if self._clipped:
            limits = sorted((header.black, header.white))
            levels = np.clip(levels, int(np.ceil(limits[0])), int(np.floor(limits[1])))
        return torch.from_numpy(levels.astype(np.uint8 if header.dtype == torch.uint8 else np.uint16))

    def _find_padding(self, frame: int) -> np.ndarray:
        """Return where a frame has no data: bool `[h, w]`."""
        with report_dicom_damage(self.path):
            return self._is_padding(self._decode(frame)[:, :, 0])

    def _is_padding(self, levels: np.ndarray) -> np.ndarray:
        low, high = self.padding
        return (levels >= low) & (levels <= high)


class DicomFormat(FileFormat):
    """DICOM."""

    name, suffixes, extra = "DICOM", (".dcm", ".dicom", ".ima"), "medical"
    is_native = True
    held = ("icc", "durations")
    read_options = ("range",)

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file. Raise `UserError` if it is damaged or its pixels are not read."""
        source = read_source(path)
        with report_dicom_damage(path):
            return DicomFile(path, source, options)

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        with report_dicom_damage(metadata.native.path, "be written again"):
            return DicomWriter(path, header, metadata.native, options)

    def limit_header(self, header: Header) -> Header:
        """Return the header. Raise `UserError` if the image is too large for DICOM."""
        size = header.frames * header.height * header.width * header.channels * 2
        if max(header.height, header.width) > MAX_SIDE or size > MAX_BYTES:
            raise UserError(
                f"format=dicom: expected at most {MAX_SIDE} pixels a side and 4 GB (found {header.width}×{header.height}, "
                f"{header.frames} frames); choose format=tiff"
            )
        return header._replace(format=self.name, has_alpha=False)


FORMAT = DicomFormat()


def _to_torch(dtype: np.dtype) -> torch.dtype:
    return torch.uint8 if dtype == np.uint8 else torch.uint16
