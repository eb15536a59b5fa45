"""Read the stored voxels of a NIfTI file plane by plane, with as little memory as its order and its compression allow."""

import gzip
import mmap
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from sr.image.format.nifti_header import NiftiSource, Planes
from sr.image.limits import check_decoded_size

CHUNK_BYTES = 1 << 24
Z = 2  # planes across it are contiguous: x is the fastest axis in a file, time the slowest


class VoxelReader:
    """The voxels of an opened file.

    Planes across z are read where they lie, from a compressed file one after another. Across other axes a file is mapped, and
    several planes are gathered at once; a compressed one is unpacked into memory.
    """

    def __init__(self, source: NiftiSource, planes: Planes) -> None:
        self.source, self.planes = source, planes
        self._file: BinaryIO | gzip.GzipFile | None = None
        self._volume: np.ndarray | None = None  # [x, y, z, time(, samples)], if it is not read where it lies
        self._map: Any = None
        self._block: np.ndarray | None = None  # [planes, height, width(, samples)]
        self._first = 0  # the number of the first of them
        if source.is_compressed and planes.across != Z:
            sizes = source.shape[0] * source.shape[2] * source.shape[3], source.shape[1]
            check_decoded_size(source.path, *sizes, source.samples * source.dtype.itemsize)

    @property
    def count(self) -> int:
        """The number of planes at all times."""
        return self.source.shape[self.planes.across] * self.source.shape[3]

    def read(self, number: int) -> np.ndarray:
        """Return a plane `[height, width]` or `[height, width, samples]`, in the byte order of this machine."""
        plane = self._read_contiguous(number) if self.planes.across == Z else self._gather(number)
        return plane.astype(plane.dtype.newbyteorder("="), copy=False)

    def iterate_chunks(self) -> Iterator[np.ndarray]:
        """Yield all stored numbers in the order of the file; `[n]`, in the byte order of this machine.

        The end of a compressed file is read as well, where its checksum is.
        """
        source = self.source
        left = int(np.prod(source.shape, dtype=object)) * source.samples
        with self._open() as file:
            file.seek(source.offset)
            while left:
                count = min(left, CHUNK_BYTES // source.dtype.itemsize)
                data = _read_exactly(file, count * source.dtype.itemsize)
                numbers = np.frombuffer(data, source.dtype)
                yield numbers.astype(source.dtype.newbyteorder("="), copy=False)
                left -= count
            if source.is_compressed:
                while file.read(CHUNK_BYTES):
                    pass

    def close(self) -> None:
        """Close the file, and release what was read."""
        self._volume = self._block = None
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()
        self._map = self._file = None

    def _open(self) -> BinaryIO | gzip.GzipFile:
        return gzip.open(self.source.path) if self.source.is_compressed else self.source.path.open("rb")

    def _read_contiguous(self, number: int) -> np.ndarray:
        self._file = self._file or self._open()
        source = self.source
        width, height = source.shape[:2]
        size = width * height * source.samples * source.dtype.itemsize
        self._file.seek(source.offset + number * size)
        plane = np.frombuffer(_read_exactly(self._file, size), source.dtype)
        return plane.reshape(height, width, source.samples) if source.samples > 1 else plane.reshape(height, width)

    def _gather(self, number: int) -> np.ndarray:
        """Return a plane of a block of them: whoever reads a plane reads the next one, and their voxels lie side by side."""
        planes, shape = self.planes, self.source.shape
        if self._block is None or not self._first <= number < self._first + len(self._block):
            self._block = None
            time, first = divmod(number, shape[planes.across])
            size = shape[planes.height] * shape[planes.width] * self.source.samples * self.source.dtype.itemsize
            stop = min(shape[planes.across], first + max(1, CHUNK_BYTES // size))
            volume = np.moveaxis(
                self._map_volume()[:, :, :, time], (planes.across, planes.height, planes.width), (0, 1, 2)
            )
            self._block, self._first = np.array(volume[first:stop], order="C"), number
            self._drop_pages()
        return self._block[number - self._first]

    def _map_volume(self) -> np.ndarray:
        if self._volume is None:
            source, shape = self.source, self.source.shape
            inner = (source.samples,) if source.samples > 1 else ()
            strides = np.cumprod([source.samples * source.dtype.itemsize, *shape[:3]]).tolist()
            strides += [source.dtype.itemsize] * len(inner)
            self._file = self._open()
            if source.is_compressed:
                buffer, offset = np.empty(int(np.prod(shape)) * source.samples, source.dtype), 0
                self._file.seek(source.offset)
                _read_into(self._file, memoryview(buffer).cast("B"))
            else:
                buffer = self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
                offset = source.offset
            self._volume = np.ndarray((*shape, *inner), source.dtype, buffer, offset, strides)
        return self._volume

    def _drop_pages(self) -> None:
        """Let the system have the memory of the mapped file, which counts as that of this process, for other things."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _read_exactly(file: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    buffer = bytearray(size)
    _read_into(file, memoryview(buffer))
    return buffer


def _read_into(file: BinaryIO | gzip.GzipFile, buffer: memoryview) -> None:
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done : done + CHUNK_BYTES])
        if not count:
            raise ValueError(f"its voxels end early, {len(buffer) - done} bytes of them are missing")
        done += count
