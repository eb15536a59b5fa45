"""The range of values that becomes 0…1 in a network's input: of gray pixels the same one for all files of a series.

By default it is the smallest and the largest value of the series, found in all its files in the folder: vendors state 16 bits
where 1,000 levels are used. Values are in the unit after rescale slope and intercept (HU of CT), which may differ per file.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sr.image.format.dicom_header import DicomSource, read_source
from sr.image.format.dicom_library import import_pydicom, report_dicom_damage
from sr.image.format.dicom_pixels import decode_frame
from sr.image.formats import read_head
from sr.runtime.error import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

PROGRAM = "SR_PREDICT"  # ImplementationVersionName of its results
WINDOW = "window"  # range=window
MAX_FOLDERS = 8  # whose files are remembered
MARK = b"DICM"  # at byte 128

State = tuple[int, int]  # size and time of the last change of a file


class ValueRange(NamedTuple):
    """Values after rescale slope and intercept, the lower one first, and where they are from."""

    low: float
    high: float
    origin: str


def read_rescale(dataset: "Dataset") -> tuple[float, float]:
    """Return slope and intercept; 1 and 0 if they are not stated, or in functional groups, where each frame has its own."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None or not float(slope):
        return 1.0, 0.0
    return float(slope), float(intercept)


def read_window(dataset: "Dataset") -> tuple[float, float] | None:
    """Return the values that the first window of a file shows black and white (C.11.2.1.2); None without one."""
    for part in (dataset, *_iterate_groups(dataset)):
        center, width = _take_first(part.get("WindowCenter")), _take_first(part.get("WindowWidth"))
        if center is not None and width is not None and width >= 1:
            if str(part.get("VOILUTFunction") or "LINEAR") == "LINEAR":
                return center - 0.5 - (width - 1) / 2, center - 0.5 + max(width - 1, 1) / 2
            return center - width / 2, center + width / 2
    return None


def find_range(path: Path, source: DicomSource, wanted: tuple[float, float] | str | None) -> ValueRange:
    """Return the range of gray pixels. `wanted` is the option `range`. Raise `UserError` if the file has no such range."""
    if isinstance(wanted, str):
        window = read_window(source.dataset)
        if window is None:
            raise UserError(
                f"{path}: range={WINDOW}: expected a file with a window (found none); type range=[LOW,HIGH]"
            )
        return ValueRange(*window, "its window")
    if wanted is not None:
        return ValueRange(*wanted, "range=")
    if source.layout.stored <= 8 and not source.layout.is_signed:
        return ValueRange(*sorted(_rescale(source.dataset, (0, 255))), "its 8 bits")
    stated = _read_own_range(source.dataset)
    if stated is not None:
        return ValueRange(*stated, "the series")
    return ValueRange(*_series.measure(path, source), "the series")


def compute_levels(dataset: "Dataset", values: tuple[float, float]) -> tuple[float, float]:
    """Return the stored numbers of two values, whole ones if they are as good as whole."""
    slope, intercept = read_rescale(dataset)
    levels = [(value - intercept) / slope for value in values]
    return tuple(float(round(x)) if abs(x - round(x)) < 1e-3 else x for x in levels)


class _SeriesRanges:
    """Finds and remembers the ranges of the series in folders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: dict[Path, dict[str, dict[Path, State]]] = {}  # series -> its files
        self._ranges: dict[tuple[Path, str], tuple[float, float]] = {}

    def measure(self, path: Path, source: DicomSource) -> tuple[float, float]:
        """Return the smallest and the largest value of the series that a file belongs to, in all its files in the folder."""
        uid, place = str(source.dataset.get("SeriesInstanceUID") or ""), path.absolute()
        with self._lock:
            if not uid:
                return _measure_files([(place, source)])
            folder = place.parent
            if self._folders.get(folder, {}).get(uid, {}).get(place) != _get_state(place):
                self._forget(folder)
                self._folders[folder] = _list_series(folder)
                self._folders[folder].setdefault(uid, {})[place] = _get_state(place)
            if (folder, uid) not in self._ranges:
                self._ranges[folder, uid] = _measure_files((file, None) for file in self._folders[folder][uid])
            return self._ranges[folder, uid]

    def _forget(self, folder: Path) -> None:
        """Forget a folder whose files have changed, and the oldest one if there are many."""
        forgotten = {folder, *list(self._folders)[: len(self._folders) - MAX_FOLDERS + 1]}
        self._folders = {key: value for key, value in self._folders.items() if key not in forgotten}
        self._ranges = {key: value for key, value in self._ranges.items() if key[0] not in forgotten}


_series = _SeriesRanges()


def _measure_files(files: Iterator[tuple[Path, DicomSource | None]] | list) -> tuple[float, float]:
    """Return the smallest and the largest value of files; those that are damaged do not count, as they have no result."""
    low, high = np.inf, -np.inf
    for path, known in files:
        try:
            with report_dicom_damage(path):
                source = known or read_source(path)
                if not source.layout.is_gray:
                    continue
                padding = read_padding(source.dataset)
                with source.open_pixels(path) as file:
                    for frame in range(source.layout.frames):
                        pixels = decode_frame(path, source, file, frame)
                        if padding:
                            pixels = pixels[(pixels < padding[0]) | (pixels > padding[1])]
                        if pixels.size:
                            values = _rescale(source.dataset, (int(pixels.min()), int(pixels.max())))
                            low, high = min(low, *values), max(high, *values)
        except (UserError, OSError):
            continue
    low = low if np.isfinite(low) else 0.0
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def read_padding(dataset: "Dataset") -> tuple[int, int] | None:
    """Return the lowest and the highest stored number that stands for no data (C.7.5.1.1.2); None without any."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return low, high


def _list_series(folder: Path) -> dict[str, dict[Path, State]]:
    """Return the DICOM files of a folder by their series."""
    pydicom, series = import_pydicom(folder), {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or read_head(path)[128:132] != MARK:
            continue
        try:
            with report_dicom_damage(path):
                dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
                uid = str(dataset.get("SeriesInstanceUID") or "")
            series.setdefault(uid, {})[path] = _get_state(path)
        except (UserError, OSError):
            continue
    return series


def _get_state(path: Path) -> State:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _read_own_range(dataset: "Dataset") -> tuple[float, float] | None:
    """Return the range that a result of sr.predict states: that of its source's series. Other programs are not relied on."""
    if dataset.file_meta.get("ImplementationVersionName") != PROGRAM:
        return None
    limits = [dataset.get(name) for name in ("SmallestPixelValueInSeries", "LargestPixelValueInSeries")]
    if not all(isinstance(limit, int) for limit in limits) or limits[0] >= limits[1]:
        return None
    return tuple(sorted(_rescale(dataset, limits)))


def _rescale(dataset: "Dataset", levels: tuple[int, int]) -> list[float]:
    slope, intercept = read_rescale(dataset)
    return [slope * level + intercept for level in levels]


def _iterate_groups(dataset: "Dataset") -> Iterator["Dataset"]:
    """Yield the windows of the functional groups of a multi-frame file: shared, or of the first frame (C.7.6.16.2.10)."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(name) or [])[:1]:
            yield from list(group.get("FrameVOILUTSequence") or [])[:1]


def _take_first(value: object) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0]) if hasattr(value, "__getitem__") and not isinstance(value, str) else float(value)
