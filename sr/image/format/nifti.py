"""NIfTI-1 and NIfTI-2, .nii and .nii.gz: volumes in 3 dimensions, or 4 with time (pip install 'sr[medical]').

A frame is a plane of a volume. Values are those that are stored, which `scl_slope` and `scl_inter` of the result make the same
units of. Signed numbers of 8 and 16 bits are unsigned ones in a frame: `shift` is added to them.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from sr.image.damage import report_damage
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
from sr.image.format.nifti_header import AXES, NiftiSource, choose_planes, list_lost_fields, read_source
from sr.image.format.nifti_range import EXACT, SHARE, VoxelRange, find_range
from sr.image.format.nifti_voxels import VoxelReader
from sr.image.format.nifti_write import NiftiNative, NiftiWriter
from sr.runtime.error import UserError

GZIP_SUFFIX = ".nii.gz"


class NiftiFile(ImageFile):
    """A NIfTI file, whose planes are frames: all of the first time, then of the second. All voxels are read once at first."""

    def __init__(self, path: Path, source: NiftiSource, options: ReadOptions) -> None:
        self.path, self.source = path, source
        self.planes = choose_planes(source, options.axis)
        self._reader = VoxelReader(source, self.planes)
        self._plane: np.ndarray | None = None
        self._number = -1
        self.middle = source.shape[self.planes.across] // 2
        is_deep = source.dtype.itemsize > 2 or source.dtype.kind == "f"
        self.shift = 0 if is_deep or source.dtype.kind == "u" else 1 << (8 * source.dtype.itemsize - 1)
        self._type = torch.float32 if is_deep else (torch.uint8 if source.dtype.itemsize == 1 else torch.uint16)
        self._stated = source.samples == 1 and options.range is not None
        self._range = self._replace_range(self._find_range(), options.range)
        self.header = self._describe()
        self.notes = self._list_notes()
        self.display = self._find_display()

    @cached_property
    def metadata(self) -> Metadata:  # type: ignore[override]
        """The metadata: what a NIfTI result gets is in `native`."""
        unread, dtype = list_lost_fields(self.source, self.planes), self.source.dtype
        is_beyond = dtype.kind in "iu" and max(abs(self._range.smallest), abs(self._range.largest)) > EXACT
        if dtype == np.float64 or is_beyond:
            unread.append(f"{dtype.name} beyond the 24 bits of float32")
        extensions = ("NIfTI extensions",) * (len(self.source.extensions) > 4)
        native = NiftiNative(self.source, self.planes, self.shift, ("place in the world (affine)", *extensions))
        return Metadata(is_lossless=True, unread=tuple(unread), native=native)

    def read(self, frame: int = 0, window: Window | None = None) -> Frame:
        """Read a plane, or a window of it. Raise `UserError`, which names the file, if it is damaged."""
        with report_damage(self.path):
            if frame != self._number:
                self._plane, self._number = None, -1
                self._plane, self._number = self._reader.read(frame), frame
            top, left, height, width = window or Window(0, 0, *self.header[:2])
            part = self._plane[top : top + height, left : left + width]
            if self.source.samples > 1:
                layers = torch.from_numpy(np.array(part.transpose(2, 0, 1), order="C"))
                return Frame(layers[:3], layers[3:] if self.header.has_alpha else None)
            if self.shift:
                part = (part.astype(np.int32) + self.shift).astype(f"u{part.dtype.itemsize}")
            elif self._type == torch.float32:
                part = part.astype(np.float32)
            return Frame(torch.from_numpy(np.array(part, order="C"))[None], None)

    def close(self) -> None:
        """Close the file, and release what was read."""
        self._reader.close()
        self._plane = None

    def _find_range(self) -> VoxelRange:
        """Return the range of values. The voxels of 8 bits are read as well if a checksum may show damage."""
        with report_damage(self.path):
            if self.source.dtype != np.uint8:
                return find_range(self.source)
            if self.source.is_compressed:
                for _ in self._reader.iterate_chunks():
                    pass
        return VoxelRange(0, 255, 0, 255)

    def _replace_range(self, found: VoxelRange, wanted: tuple[float, float] | str | None) -> VoxelRange:
        """Return the range with the values that the option `range` states, in units: after slope and intercept."""
        if not self._stated:
            return found
        if isinstance(wanted, str):
            wanted = tuple(float(self.source.header[field]) for field in ("cal_min", "cal_max"))
            if not (wanted[1] > wanted[0] and np.isfinite(wanted).all()):
                raise UserError(
                    f"{self.path}: range=window: expected a file with cal_min and cal_max (found none); type range=[LOW,HIGH]"
                )
        slope, intercept = self._read_scale()
        low, high = sorted((value - intercept) / slope for value in wanted)
        return found._replace(low=low, high=high)

    def _describe(self) -> Header:
        source, planes = self.source, self.planes
        low, high = self._range.low + self.shift, self._range.high + self.shift
        if source.samples == 1 and float(source.header["scl_slope"]) < 0:  # the smallest stored value is the brightest
            low, high = high, low
        is_gray = source.samples == 1
        return Header(
            source.shape[planes.height], source.shape[planes.width], "gray" if is_gray else "color",
            self._reader.count, "NIfTI", 1 if is_gray else 3, source.samples == 4, self._type, low, high,
            is_limited=source.dtype == np.uint8, grows=planes.grows,
        )  # fmt: skip

    def _list_notes(self) -> tuple[str, ...]:
        across = AXES[self.planes.across]
        grown = [AXES[k] for k, grows in zip(self.planes, self.planes.grows, strict=False) if grows]
        notes = [*self.source.notes, f"upscaled along {' and '.join(sorted(grown))}, slice by slice across {across}"]
        if self._stated or self.source.dtype != np.uint8:
            slope, intercept = self._read_scale()
            low, high = sorted(slope * value + intercept for value in self._range[:2])
            is_whole = self._range.low == self._range.smallest and self._range.high == self._range.largest
            beyond = "" if is_whole or self._stated else f"; {SHARE:.1%} of the voxels are darker, and brighter"
            notes.append(f"black and white for the network are {low:g} and {high:g}{beyond}")
        more = 0 if self.source.is_compressed else self.path.stat().st_size - self.source.end
        if more > 0:
            notes.append(
                f"{more} bytes after its voxels are left out: they are something else, or its header is damaged"
            )
        return tuple(notes)

    def _find_display(self) -> tuple[float, float] | None:
        """Return the stored numbers that viewers show black and white, which the header states in units."""
        low, high = (float(self.source.header[field]) for field in ("cal_min", "cal_max"))
        if not high > low or self.source.samples > 1 or not np.isfinite([low, high]).all():
            return None
        slope, intercept = self._read_scale()
        return tuple((value - intercept) / slope + self.shift for value in (low, high))

    def _read_scale(self) -> tuple[float, float]:
        """Return slope and intercept; 1 and 0 if there is no scale: a slope of 0, NaN."""
        slope, intercept = (float(self.source.header[field]) for field in ("scl_slope", "scl_inter"))
        if slope == 0 or not np.isfinite([slope, intercept]).all():
            return 1.0, 0.0
        return slope, intercept


class NiftiFormat(FileFormat):
    """NIfTI."""

    name, suffixes, extra = "NIfTI", (".nii", GZIP_SUFFIX), "medical"
    is_native = reads_gzip = True
    held = ()
    read_options = ("axis", "range")

    def open(self, path: Path, options: ReadOptions = READ_ALL) -> ImageFile:
        """Read the header of a file, and its range. Raise `UserError` if it is damaged or its voxels are not read."""
        with report_damage(path):
            return NiftiFile(path, read_source(path), options)

    def create(self, path: Path, header: Header, metadata: Metadata, options: WriteOptions) -> ImageWriter:
        """Begin a file at `path`, which is a temporary name. `header` is the result's, within `limit_header`."""
        native = metadata.native
        is_compressed = (
            options.suffix == GZIP_SUFFIX if options.suffix in self.suffixes else native.source.is_compressed
        )
        return NiftiWriter(path, header, native, is_compressed)

    def limit_header(self, header: Header) -> Header:
        """Return the header: a result has the numbers of its source."""
        return header._replace(format=self.name)


FORMAT = NiftiFormat()
