"""The header of a NIfTI file: which voxels it has, where they are in the world, and both after upscaling.

NIfTI-1: https://nifti.nimh.nih.gov/nifti-1, NIfTI-2: https://nifti.nimh.nih.gov/nifti-2. All other fields, and extensions,
are copied byte by byte.
"""

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sr.image.damage import UnsupportedImageError, import_decoder
from sr.image.limits import DEFLATE_RATIO
from sr.runtime.error import UserError

AXES = "xyz"  # the names that the standard gives to the first three axes of the array
SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}  # bytes of a header -> its class in nibabel
SAME = 1.01  # times the length of another voxel side that counts as equal to it
MAX_SIDE = 32_767  # voxels of NIfTI-1
LABELS = 1002  # NIFTI_INTENT_LABEL
MAX_EXTENSION = 1 << 28  # bytes
VECTORS = range(1005, 1012)  # NIFTI_INTENT_SYMMATRIX to NIFTI_INTENT_QUATERNION
PLACES = range(6)  # what qform_code and sform_code may be
PLACE_FIELDS = {  # of the code that states what kind of place they are
    "qform_code": ("qoffset_x", "qoffset_y", "qoffset_z"), "sform_code": ("srow_x", "srow_y", "srow_z"),
}  # fmt: skip
COLORS = {128: 3, 2304: 4}  # RGB24 and RGBA32 -> numbers in a voxel


class NiftiSource(NamedTuple):
    """A NIfTI file whose header is read and checked."""

    path: Path
    header: Any  # of nibabel, as it is stored
    extensions: bytes  # what is between the header and the voxels
    shape: tuple[int, int, int, int]  # x, y, z and time
    dtype: np.dtype  # of a stored number, in the byte order of the file
    samples: int  # numbers in a voxel: 1, 3 (RGB) or 4 (RGBA)
    is_compressed: bool
    notes: tuple[str, ...] = ()  # about signs of damage

    @property
    def offset(self) -> int:
        """The byte at which the voxels begin."""
        return len(self.header.binaryblock) + len(self.extensions)

    @property
    def end(self) -> int:
        """The byte at which the voxels end."""
        return self.offset + int(np.prod(self.shape, dtype=object)) * self.samples * self.dtype.itemsize

    @property
    def zooms(self) -> tuple[float, ...]:
        """The sides of a voxel along x, y and z."""
        return tuple(abs(float(side)) or 1.0 for side in self.header["pixdim"][1:4])


class Planes(NamedTuple):
    """Describe the division of a volume into images: the axes (0: x, 1: y, 2: z) of rows and columns, and that across them."""

    height: int
    width: int
    across: int
    grows: tuple[bool, bool] = (True, True)  # height, width: True: it is upscaled


def read_source(path: Path) -> NiftiSource:
    """Read the header of a NIfTI file. Raise `UnsupportedImageError`, or `ValueError` if it is damaged."""
    nibabel = import_decoder("nibabel", path, "a NIfTI file", "medical")
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    with path.open("rb") as raw:
        is_compressed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if is_compressed else path.open("rb") as file:
        start = file.read(4)
        size = int.from_bytes(start, "little")
        order = "<" if size in SIZES else ">"
        size = size if order == "<" else int.from_bytes(start, "big")
        if size not in SIZES:
            raise ValueError("its header cannot be read")
        block = start + file.read(size - 4)
        if len(block) < size:
            raise ValueError("its header ends early")
        header = getattr(nibabel, SIZES[size])(block, order, check=False)
        _require_single_file(path, header)
        notes = _check_fields(header)
        offset = int(header["vox_offset"])
        most = path.stat().st_size * (DEFLATE_RATIO if is_compressed else 1)
        if not size <= offset <= min(most, size + MAX_EXTENSION):
            raise ValueError(f"its voxels begin at byte {offset}")
        extensions = file.read(offset - size)
        if len(extensions) < offset - size:
            raise ValueError("its extensions end early")
        notes += _check_extensions(extensions, order)
    dtype, samples = _read_type(path, header)
    source = NiftiSource(path, header, extensions, _read_shape(path, header), dtype, samples, is_compressed, notes)
    _check_size(source)
    return source


def choose_planes(source: NiftiSource, axis: str | None) -> Planes:
    """Return how the volume is divided.

    `axis` None: into the planes of the finest resolution, across the longest side of a voxel (z if none is longer). Else the
    planes contain this axis, which alone is upscaled, and of the two others that with the shorter side of a voxel. An axis
    along which there is one voxel only counts as the longest.
    """
    zooms = [np.inf if size == 1 else side for side, size in zip(source.zooms, source.shape, strict=False)]
    upscaled = None if axis is None else AXES.index(axis)
    if upscaled is not None and source.shape[upscaled] == 1:
        raise UserError(f"{source.path}: axis={axis}: expected an axis with several voxels (found one); leave axis out")
    others = [k for k in (2, 1, 0) if k != upscaled]  # the first one unless another is longer
    across = max(others, key=zooms.__getitem__)
    across = across if zooms[across] > SAME * zooms[others[0]] else others[0]
    width, height = (k for k in range(3) if k != across)
    return Planes(height, width, across, (upscaled in (None, height), upscaled in (None, width)))


def update_header(source: NiftiSource, shape: Sequence[int]) -> Any:
    """Return the header of a result of this shape (x, y, z), which covers the same part of the world.

    Centers of voxels move: number `v` of the result has the place of `v/s + (1/s - 1)/2` in the source, s times smaller.
    """
    header = source.header.copy()
    factors = np.array([new / old for new, old in zip(shape, source.shape, strict=False)])
    header["dim"][1:4] = shape
    header["pixdim"][1:4] = np.array(source.header["pixdim"][1:4], np.float64) / factors
    to_old = np.diag([*(1 / factors), 1.0])
    to_old[:3, 3] = (1 / factors - 1) / 2
    if int(header["sform_code"]) > 0:
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] = np.array(source.header[row], np.float64) @ to_old
    if int(header["qform_code"]) > 0:
        place = (source.header.get_qform() @ to_old)[:3, 3]
        for field, value in zip(("qoffset_x", "qoffset_y", "qoffset_z"), place, strict=True):
            header[field] = value
    if _has_timing(header) and factors[_find_slice_axis(header)] != 1:
        for field in ("slice_start", "slice_end", "slice_code", "slice_duration"):
            header[field] = 0
    return header


def list_lost_fields(source: NiftiSource, planes: Planes) -> list[str]:
    """Return the names of what no result gets."""
    header = source.header
    upscaled = [axis for axis, grows in zip(planes, planes.grows, strict=False) if grows]
    return ["slice timing"] * (_has_timing(header) and _find_slice_axis(header) in upscaled)


def _check_fields(header: Any) -> tuple[str, ...]:
    """Raise what a damaged header leads to, and return notes. Make the sides of voxels positive, as the standard asks."""
    used = ["pixdim"]
    for code, fields in PLACE_FIELDS.items():
        if int(header[code]) not in PLACES:
            raise ValueError(f"its {code} is {int(header[code])}")
        used += fields if int(header[code]) else ()
    for field in used:
        if not np.isfinite(header[field].ravel()[:5]).all():  # of pixdim: the sign of an axis, x, y, z and t
            raise ValueError(f"its {field} is not finite")
    checked = header.copy()
    checked.check_fix()
    is_positive = (header["pixdim"][1:4] > 0).all()
    header["pixdim"][1:4] = checked["pixdim"][1:4]
    if int(header["qform_code"]) > 0:
        header.get_qform()
    return () if is_positive else ("its header may be damaged: sides of its voxels are 0 or negative",)


def _check_extensions(data: bytes, order: str) -> tuple[str, ...]:
    """Raise `ValueError` if the bytes between the header and the voxels are not extensions; return notes."""
    place, notes = 4, ()
    while data[:1] not in (b"", b"\0") and place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "little" if order == "<" else "big")
        if size < 8 or place + size > len(data):
            raise ValueError("its extensions cannot be read")
        if size % 16:
            notes = ("its header may be damaged: the length of an extension is no multiple of 16",)
        place += size
    return notes


def _has_timing(header: Any) -> bool:
    return bool(int(header["slice_code"]) or float(header["slice_duration"]))


def _find_slice_axis(header: Any) -> int:
    """Return the axis that slices were taken across, which is z if the header does not say."""
    axis = int(header["dim_info"]) >> 4 & 3
    return axis - 1 if axis else 2


def _require_single_file(path: Path, header: Any) -> None:
    magic = bytes(header["magic"].tobytes())
    if not magic.startswith(b"n+"):
        raise UnsupportedImageError(
            f"{path}: a NIfTI header whose voxels are in another file (.img); save both as one .nii, "
            "such as by nibabel.save(nibabel.load('a.hdr'), 'a.nii')"
        )


def _read_type(path: Path, header: Any) -> tuple[np.dtype, int]:
    """Return the type of a stored number, and how many of them a voxel has."""
    code = int(header["datatype"])
    try:
        label, dtype = header._data_type_codes.label[code], header.get_data_dtype()
    except Exception:
        raise UnsupportedImageError(f"{path}: voxels of the unknown type {code}; convert them to float") from None
    if code in COLORS:
        return np.dtype(np.uint8), COLORS[code]
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        advice = "save their magnitude" if dtype.kind == "c" else "convert them to float32"
        raise UnsupportedImageError(f"{path}: {label} voxels are not read; {advice}")
    return dtype, 1


def _read_shape(path: Path, header: Any) -> tuple[int, int, int, int]:
    count = int(header["dim"][0])
    if not 2 <= count <= 7:
        raise ValueError(f"it has {count} dimensions")
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    if min(sizes) < 1:
        raise ValueError(f"its dimensions are {'×'.join(map(str, sizes))}")
    intent = int(header["intent_code"])
    if any(size > 1 for size in sizes[4:]) or intent in VECTORS:
        raise UnsupportedImageError(
            f"{path}: {'×'.join(map(str, sizes))} voxels: expected images (3 dimensions, or 4 with time); vectors and "
            "matrices are not upscaled"
        )
    if intent == LABELS:
        raise UnsupportedImageError(f"{path}: its voxels are labels, between which nothing lies; leave it out")
    return tuple([*sizes[:4], 1, 1, 1][:4])


def _check_size(source: NiftiSource) -> None:
    """Raise `ValueError` if the file is too small to hold its voxels, before anything of them is read."""
    count = source.end - source.offset
    size = source.path.stat().st_size
    if source.is_compressed and source.end > size * DEFLATE_RATIO:
        raise ValueError(f"its header announces {count} bytes, more than the {size} bytes of the file can hold")
    if not source.is_compressed and source.end > size:
        raise ValueError(f"its voxels end after {max(0, size - source.offset)} of {count} bytes")
