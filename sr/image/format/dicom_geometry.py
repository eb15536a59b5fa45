"""Scale what a DICOM header states in pixels or for a pixel: spacing, positions, regions, shutters.

Positions are those of centers of pixels. With s times as many pixels along an axis, the center of the first one moves by
(1/s - 1)/2 old pixels: the edges of the image stay where they are.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePlanePixelSpacing")  # row, column
VERTICAL_EDGES = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "CollimatorLeftVerticalEdge",
    "CollimatorRightVerticalEdge",
)  # fmt: skip  columns, from 1
HORIZONTAL_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CollimatorUpperHorizontalEdge",
    "CollimatorLowerHorizontalEdge",
)  # fmt: skip  rows, from 1
POINTS = (
    "CenterOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "CenterOfCircularCollimator",
    "VerticesOfThePolygonalCollimator",
)  # fmt: skip  row, column, row, column …
RADII = ("RadiusOfCircularShutter", "RadiusOfCircularCollimator")
MAX_RATIO = 10_000  # of the whole numbers of an aspect ratio


def scale_geometry(dataset: "Dataset", rows: float, columns: float) -> None:
    """Adapt a header to an image with `rows` times as many rows, and `columns` times as many columns. Changes it in place."""
    if (rows, columns) == (1, 1):
        return
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    _move(dataset, dataset, dataset, rows, columns)
    for group in [*groups, *frames]:
        parts = [group, *groups] if group in frames else [group, *frames[:1]]
        measures, orientation = (
            next((part[name][0] for part in parts if part.get(name)), None)
            for name in ("PixelMeasuresSequence", "PlaneOrientationSequence")
        )
        for position in group.get("PlanePositionSequence") or []:
            _move(position, measures, orientation, rows, columns)
    for part in _iterate_parts(dataset, groups, frames):
        _scale_numbers(part, rows, columns)
    _move_rt_image(dataset, rows, columns)
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        _scale_region(region, rows, columns)
    if rows != columns and "PixelAspectRatio" in dataset:
        ratio = Fraction(*(int(value) for value in dataset.PixelAspectRatio)) * Fraction(columns / rows)
        dataset.PixelAspectRatio = [str(value) for value in ratio.limit_denominator(MAX_RATIO).as_integer_ratio()]


def read_positions(dataset: "Dataset", frames: int) -> list[float]:
    """Return the position of each frame across the slices, in mm, to 1 µm; without one, its number in the series or file."""
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or []) or [None] * frames
    found = [_read_position([part for part in (group, *shared, dataset) if part is not None]) for group in groups]
    if len(found) == frames and None not in found:
        return found
    if frames == 1:
        return [float(dataset.get("InstanceNumber") or 0)]
    return [float(frame) for frame in range(frames)]


def _read_position(parts: "list[Dataset]") -> float | None:
    """Return the distance of a slice from the origin along the normal of its plane (C.7.6.2.1.1)."""
    place = orientation = None
    for part in parts:
        position, plane = (
            next(iter(part.get(name) or []), part) for name in ("PlanePositionSequence", "PlaneOrientationSequence")
        )
        place = place or position.get("ImagePositionPatient")
        orientation = orientation or plane.get("ImageOrientationPatient")
    if not place or not orientation or len(place) != 3 or len(orientation) != 6:
        return None
    (a, b, c), (d, e, f) = ([float(x) for x in orientation[k : k + 3]] for k in (0, 3))
    normal = b * f - c * e, c * d - a * f, a * e - b * d
    return round(sum(float(x) * n for x, n in zip(place, normal, strict=True)), 3)


def compute_shift(scale: float) -> float:
    """Return by how many old pixels the center of the first pixel moves."""
    return (1 / scale - 1) / 2


def format_number(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5, 6.2)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _iterate_parts(dataset: "Dataset", groups: list, frames: list) -> Iterator["Dataset"]:
    """Yield the data sets that hold spacings and shutters: the top, and all items of the functional groups."""
    yield dataset
    for group in [*groups, *frames]:
        for element in group:
            if element.VR == "SQ":
                yield from element.value


def _move(
    position: "Dataset", measures: "Dataset | None", orientation: "Dataset | None", rows: float, columns: float
) -> None:
    """Move ImagePositionPatient to the center of the new first pixel (C.7.6.2.1.1)."""
    place = position.get("ImagePositionPatient")
    spacing = measures.get("PixelSpacing") if measures is not None else None
    directions = orientation.get("ImageOrientationPatient") if orientation is not None else None
    if not (place and spacing and directions):
        return
    down, right = (float(value) for value in spacing)
    along_row, along_column = ([float(x) for x in directions[k : k + 3]] for k in (0, 3))
    x, y = right * compute_shift(columns), down * compute_shift(rows)
    position.ImagePositionPatient = [
        format_number(float(p) + x * a + y * b) for p, a, b in zip(place, along_row, along_column, strict=True)
    ]


def _move_rt_image(dataset: "Dataset", rows: float, columns: float) -> None:
    """Move RTImagePosition: x to the right, y up, in the plane of the image (C.8.8.2); its spacing is scaled already."""
    place, spacing = dataset.get("RTImagePosition"), dataset.get("ImagePlanePixelSpacing")
    if place and spacing:
        x = float(place[0]) + float(spacing[1]) * columns * compute_shift(columns)
        y = float(place[1]) - float(spacing[0]) * rows * compute_shift(rows)
        dataset.RTImagePosition = [format_number(x), format_number(y)]


def _scale_numbers(part: "Dataset", rows: float, columns: float) -> None:
    for keyword in SPACINGS:
        if part.get(keyword):
            down, right = (float(value) for value in part.get(keyword))
            setattr(part, keyword, [format_number(down / rows), format_number(right / columns)])
    for keywords, scale in ((VERTICAL_EDGES, columns), (HORIZONTAL_EDGES, rows)):
        for keyword in keywords:
            if part.get(keyword) is not None:
                is_first = "Left" in keyword or "Upper" in keyword
                setattr(part, keyword, str(_scale_edge(int(part.get(keyword)), scale, is_first)))
    for keyword in POINTS:
        if part.get(keyword):
            scaled = (_scale_center(int(v), (rows, columns)[k % 2]) for k, v in enumerate(part.get(keyword)))
            setattr(part, keyword, [str(value) for value in scaled])
    for keyword in RADII:
        if part.get(keyword) is not None:
            setattr(part, keyword, str(round(int(part.get(keyword)) * rows)))


def _scale_edge(edge: int, scale: float, is_first: bool) -> int:
    """Return an edge, which is the number of a row or column from 1: the first or the last one of those that it becomes."""
    return round((edge - 1) * scale) + 1 if is_first else round(edge * scale)


def _scale_center(number: int, scale: float) -> int:
    return round((number - 0.5) * scale + 0.5)


def _scale_region(region: "Dataset", rows: float, columns: float) -> None:
    """Scale a region of an ultrasound image (C.8.5.5): its corners, from 0, its reference pixel, and what a pixel stands for."""
    for axis, scale in (("X", columns), ("Y", rows)):
        for number, is_first in (("0", True), ("1", False)):
            keyword = f"RegionLocation{'Min' if is_first else 'Max'}{axis}{number}"
            if region.get(keyword) is not None:
                setattr(region, keyword, _scale_edge(int(region.get(keyword)) + 1, scale, is_first) - 1)
        delta, reference = region.get(f"PhysicalDelta{axis}"), region.get(f"ReferencePixel{axis}0")
        if delta is not None:
            setattr(region, f"PhysicalDelta{axis}", float(delta) / scale)
        if reference is not None:
            setattr(region, f"ReferencePixel{axis}0", round((int(reference) + 0.5) * scale - 0.5))
