"""The range of values that becomes 0…1 in a network's input: of gray pixels the same one for all files of a series.

By default it is the smallest and the largest value of the series, found in all its files in the folder: vendors state 16 bits
where 1,000 levels are used. Values are in the unit after rescale slope and intercept (HU of CT), which may differ per file.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sr.image.format.dicom_header import DicomSource, read_source
from sr.image.format.dicom_library import import_pydicom, report_dicom_damage
from sr.image.format.dicom_pixels import decode_frame
from sr.image.formats import read_head
from sr.runtime.error import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

PROGRAM = "SR_PREDICT"  # ImplementationVersionName of its results
WINDOW = "window"  # range=window
MAX_FOLDERS = 8  # whose ranges are remembered
MARK = b"DICM"  # at byte 128

State = tuple[int, int]  # size and time of the last change of a file
Limits = tuple[float, float]  # smallest and largest value
NO_VALUES: Limits = (math.inf, -math.inf)  # of a file that is damaged, or whose pixels are all padding


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
    return ValueRange(*_measure_series(path, source), "the series")


def compute_levels(dataset: "Dataset", values: tuple[float, float]) -> tuple[float, float]:
    """Return the stored numbers of two values, whole ones if they are as good as whole."""
    slope, intercept = read_rescale(dataset)
    levels = [(value - intercept) / slope for value in values]
    return tuple(float(round(x)) if abs(x - round(x)) < 1e-3 else x for x in levels)


class _FolderRanges:
    """Finds and remembers the ranges of the series in a folder. Only files that are new or have changed are decoded again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._series: dict[str, dict[Path, State]] = {}  # UID -> its files
        self._ranges: dict[str, Limits] = {}  # by UID
        self._files: dict[tuple[Path, State], Limits] = {}

    def measure(self, uid: str, path: Path) -> Limits:
        """Return the smallest and the largest value of a series, to which at least the file `path` belongs."""
        if self._series.get(uid, {}).get(path) != _get_state(path):
            self._series, self._ranges = _list_series(self.folder), {}
            self._series.setdefault(uid, {})[path] = _get_state(path)
            present = {file for files in self._series.values() for file in files.items()}
            self._files = {file: limits for file, limits in self._files.items() if file in present}
        if uid not in self._ranges:
            files = self._series[uid].items()
            self._files |= {file: _measure_file(file[0]) for file in files if file not in self._files}
            self._ranges[uid] = _join_limits(self._files[file] for file in files)
        return self._ranges[uid]


_folders: dict[Path, _FolderRanges] = {}
_lock = threading.Lock()  # of `_folders`: threads that read files of one series wait for its range


def _measure_series(path: Path, source: DicomSource) -> Limits:
    """Return the smallest and the largest value of the series that a file belongs to, in all its files in the folder."""
    uid, place = str(source.dataset.get("SeriesInstanceUID") or ""), path.absolute()
    if not uid:
        return _join_limits([_measure_file(place)])
    with _lock:
        known = _folders.setdefault(place.parent, _FolderRanges(place.parent))
        while len(_folders) > MAX_FOLDERS:
            del _folders[next(iter(_folders))]
        return known.measure(uid, place)


def _measure_file(path: Path) -> Limits:
    """Return the smallest and the largest value of a file, or `NO_VALUES`: one that is damaged does not count."""
    low, high = NO_VALUES
    try:
        with report_dicom_damage(path):
            source = read_source(path)
            if not source.layout.is_gray:
                return NO_VALUES
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
        return NO_VALUES
    return float(low), float(high)


def _join_limits(found: Iterable[Limits]) -> Limits:
    """Return limits that include all that were found, the upper one above the lower one."""
    lows, highs = zip(NO_VALUES, *found, strict=True)
    low, high = min(lows), max(highs)
    low = low if math.isfinite(low) else 0.0
    return (low, high) if high > low else (low, low + 1.0)


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
