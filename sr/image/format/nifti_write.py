"""Write NIfTI files: as they come if slices lie across z, else into a file of the final size, in which planes are scattered."""

import gzip
import mmap
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from sr.image.file_format import Frame, Header, ImageWriter
from sr.image.format.nifti_header import MAX_SIDE, NiftiSource, Planes, update_header
from sr.image.format.nifti_voxels import CHUNK_BYTES, Z
from sr.runtime.error import UserError

GZIP_LEVEL = 5


class NiftiNative(NamedTuple):
    """Hold what the result of a NIfTI file gets of it."""

    source: NiftiSource
    planes: Planes
    shift: int  # that is added to signed numbers, so that tensors have unsigned ones
    names: tuple[str, ...]  # of what other formats do not hold


class NiftiWriter(ImageWriter):
    """A NIfTI file with the header, the extensions, the type of numbers and their scale of the source."""

    is_streaming = True

    def __init__(self, path: Path, header: Header, native: NiftiNative, is_compressed: bool) -> None:
        self.header, self.native = header, native
        source, planes = native.source, native.planes
        shape = list(source.shape[:3])
        shape[planes.height], shape[planes.width] = header.height, header.width
        if max(shape) > MAX_SIDE and source.header.structarr.dtype["dim"].base.itemsize == 2:
            raise UserError(
                f"{source.path}: its result would have {max(shape)} voxels along an axis, and {MAX_SIDE} are the limit "
                "of NIfTI-1; convert it to NIfTI-2 first"
            )
        self._head = update_header(source, shape).binaryblock + source.extensions
        self._file: BinaryIO = path.open("wb")
        self._stream = self._file
        if is_compressed:
            self._stream = gzip.GzipFile("", "wb", GZIP_LEVEL, self._file, mtime=0)
        self._scattered: _ScatteredVolume | None = None
        if planes.across == Z:
            self._stream.write(self._head)
        else:
            self._scattered = _ScatteredVolume(path, header, native, shape)

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current plane."""
        rows = to_stored(frame, self.native)
        if self._scattered:
            self._scattered.write(rows)
        else:
            self._stream.write(rows.data)

    def close(self) -> None:
        """Complete the file."""
        if self._scattered:
            self._stream.write(self._head)
            self._scattered.copy_to(self._stream)
        if self._stream is not self._file:
            self._stream.close()
        self._file.close()


class _ScatteredVolume:
    """A volume in a temporary file whose planes are not contiguous in it; several are collected and then scattered."""

    def __init__(self, path: Path, header: Header, native: NiftiNative, shape: list[int]) -> None:
        source, self.planes = native.source, native.planes
        self.shape = (*shape, source.shape[3])
        inner = (source.samples,) if source.samples > 1 else ()
        self._size = int(np.prod(self.shape, dtype=object)) * source.samples * source.dtype.itemsize
        self._temporary = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  closed by `copy_to`, or when forgotten
        self._temporary.truncate(self._size)
        self._map = mmap.mmap(self._temporary.fileno(), self._size)
        strides = np.cumprod([source.samples * source.dtype.itemsize, *shape]).tolist()
        strides += [source.dtype.itemsize] * len(inner)
        self._volume = np.ndarray((*self.shape, *inner), source.dtype, self._map, 0, strides)
        plane_bytes = header.height * header.width * source.samples * source.dtype.itemsize
        count = min(shape[self.planes.across], max(1, CHUNK_BYTES // plane_bytes))
        self._block = np.empty((count, header.height, header.width, *inner), source.dtype)
        self._row = self._filled = 0  # rows of the plane that grows, complete planes of the block
        self._written = 0  # planes in the file

    def write(self, rows: np.ndarray) -> None:
        """Append rows `[rows, W(, samples)]` to the current plane."""
        self._block[self._filled, self._row : self._row + len(rows)] = rows
        self._row += len(rows)
        if self._row == self._block.shape[1]:
            self._row, self._filled = 0, self._filled + 1
            is_time_complete = (self._written + self._filled) % self.shape[self.planes.across] == 0
            if self._filled == len(self._block) or is_time_complete:
                self._scatter()

    def copy_to(self, stream: BinaryIO) -> None:
        """Write all voxels to a file, and remove the temporary one."""
        del self._volume
        for start in range(0, self._size, CHUNK_BYTES):
            stream.write(self._map[start : start + CHUNK_BYTES])
            self._drop_pages()
        self._map.close()
        self._temporary.close()

    def _scatter(self) -> None:
        time, first = divmod(self._written, self.shape[self.planes.across])
        volume = np.moveaxis(
            self._volume[:, :, :, time], (self.planes.across, self.planes.height, self.planes.width), (0, 1, 2)
        )
        volume[first : first + self._filled] = self._block[: self._filled]
        self._written, self._filled = self._written + self._filled, 0
        self._drop_pages()

    def _drop_pages(self) -> None:
        """Let the system have the memory of the mapped file, which it writes to the disk when it needs it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def to_stored(frame: Frame, native: NiftiNative) -> np.ndarray:
    """Return the stored numbers `[rows, W(, samples)]` of a frame, contiguous, in the byte order of the file."""
    dtype = native.source.dtype
    if native.source.samples > 1:
        color = frame.pixels.expand(3, -1, -1)  # also of a network whose results are gray
        layers = color if frame.alpha is None else torch.cat([color, frame.alpha])
        return np.ascontiguousarray(layers.permute(1, 2, 0).cpu().numpy())
    values = frame.pixels[0].cpu().numpy()
    if native.shift:
        values = values.astype(np.int32) - native.shift
    elif dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values.astype(np.float64))
        limits = np.iinfo(dtype)
        values = np.clip(values, float(limits.min), np.nextafter(float(limits.max) + 1, 0))
    return np.ascontiguousarray(values.astype(dtype))
