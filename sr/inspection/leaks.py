"""Training images that show the photograph of an evaluation image, cropped, mirrored, resized or compressed."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageOps

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.known_results import KnownResults
from sr.inspection.register import Registration, find_overlap, register_photographs
from sr.inspection.windows import Gallery, WindowHashes

KIND = "leaks 1"  # of remembered values: the matches of an image in all evaluation images
MIN_SIDE = 24  # pixels of the shorter side of the small copy; in a smaller one no photograph can be recognized


class PhotographMatch(NamedTuple):
    """Two images of one photograph."""

    first: FileReport
    second: FileReport
    fit: Registration


def find_leaks(
    train: Sequence[FileReport], sets: Mapping[str, Sequence[FileReport]], where: str, known: KnownResults
) -> Finding:
    """Search for every evaluation image in every training image, and the other way round, with a progress bar."""
    evaluated = [(name, x) for name, reports in sets.items() for x in select_usable(reports)]
    queries = select_usable(train)
    gallery = _LazyGallery([x for _, x in evaluated])
    searched = hashlib.sha256("".join(x.digest for _, x in evaluated).encode()).hexdigest()
    found = known.complete(
        KIND,
        [f"{x.digest} {searched}" for x in queries],
        lambda k: gallery.find_matches(queries[k]),
        lambda matches: [(index, *fit._replace(offset=fit.offset.tolist())) for index, fit in matches],
        lambda k, code: [(index, _decode_fit(*fields)) for index, *fields in code],
        "leaks",
    )
    items = [
        _describe_match(evaluated[index][0], PhotographMatch(query, evaluated[index][1], fit))
        for query, matches in zip(queries, found, strict=True)
        for index, fit in matches
    ]
    return Finding(
        "leak", where, "training image(s) show a photograph of an evaluation set",
        "remove them from training; otherwise numbers on those sets are invalid", items,
    )  # fmt: skip


def _decode_fit(likeness: float, zoom: float, offset: list[float], mirrored: bool) -> Registration:
    """Return how two images fit, from its fields as JSON has them."""
    return Registration(likeness, zoom, np.array(offset), mirrored)


def select_usable(reports: Sequence[FileReport]) -> list[FileReport]:
    """Return the images that are large enough for a photograph to be recognized."""
    return [x for x in reports if not x.error and min(x.small_size) >= MIN_SIDE]


class _LazyGallery:
    """Evaluation images that are hashed when the first one is searched for."""

    def __init__(self, evaluated: Sequence[FileReport]) -> None:
        self.evaluated = evaluated
        self._lock = threading.Lock()
        self._gallery: Gallery | None = None

    def find_matches(self, report: FileReport) -> list[tuple[int, Registration]]:
        """Return the images (by index) that do show the photograph of `report`, and how they fit."""
        with self._lock:
            self._gallery = self._gallery or Gallery([WindowHashes(x.small) for x in self.evaluated])
        small = report.small
        mirror = ImageOps.mirror(small)
        matches = []
        for index, windows in self._gallery.find_candidates(WindowHashes(small)).items():
            fit = register_photographs(small, mirror, self.evaluated[index].small, windows)
            if fit is not None:
                matches.append((index, fit))
        return matches


def _describe_match(set_name: str, match: PhotographMatch) -> dict[str, Any]:
    relation = measure_relation(match)
    of_first, of_second = (f"{relation[key]:.0%}" for key in ("share_of_first", "share_of_second"))
    says = f"shows {of_second} of {set_name}/{match.second.name}"
    says += f" (in {of_first} of its own area)" if of_first != "100%" else ""
    says += f", {relation['size']:.2f} times its size" + (", mirrored" if match.fit.mirrored else "")
    return {
        "file": match.first.name,
        "says": f"{says}; likeness {match.fit.likeness:.2f}",
        "set": set_name,
        "image": match.second.name,
        **relation,
    }


def measure_relation(match: PhotographMatch) -> dict[str, Any]:
    """Measure how the first image was made from the second, or both from one photograph.

    `share_of_first`, `share_of_second`: the common fraction of their areas. `crop`: left, top, right, bottom in pixels of
    the second. `size`: pixels of the first for one of the second, along a side.
    """
    first, second = match.first, match.second
    box = find_overlap(first.small_size, second.small_size, match.fit.zoom, match.fit.offset)
    unit = second.width / second.small_size[0]
    area = float(np.prod(box[2:] - box[:2]))
    return {
        "share_of_first": min(1.0, area / match.fit.zoom**2 / np.prod(first.small_size)),
        "share_of_second": min(1.0, area / float(np.prod(second.small_size))),
        "crop": [round(float(v) * unit) for v in box],
        "size": first.width / first.small_size[0] / (match.fit.zoom * unit),
        "mirrored": match.fit.mirrored,
        "likeness": round(match.fit.likeness, 3),
    }
