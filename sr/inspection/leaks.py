"""Training images that show the photograph of an evaluation image, cropped, mirrored, resized or compressed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageOps

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.register import Registration, find_overlap, register_photographs
from sr.inspection.windows import Gallery, WindowHashes, WindowMatch
from sr.runtime.terminal import ProgressBar

MIN_SIDE = 24  # pixels of the shorter side of the small copy; in a smaller one no photograph can be recognized


class PhotographMatch(NamedTuple):
    """Two images of one photograph."""

    first: FileReport
    second: FileReport
    fit: Registration


def find_leaks(train: Sequence[FileReport], sets: Mapping[str, Sequence[FileReport]], where: str) -> Finding:
    """Search for every evaluation image in every training image, and the other way round, with a progress bar."""
    evaluated = [(name, x) for name, reports in sets.items() for x in select_usable(reports)]
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(WindowHashes, (x.small for _, x in evaluated))
        gallery = Gallery(list(ProgressBar(hashes, total=len(evaluated), desc="hashing sets", unit="image", delay=1)))

        def find_matches(report: FileReport) -> list[tuple[str, PhotographMatch]]:
            candidates = gallery.find_candidates(WindowHashes(report.small))
            matches = _register_candidates(report, candidates, [x for _, x in evaluated])
            return [(evaluated[index][0], match) for index, match in matches]

        queries = select_usable(train)
        bar = ProgressBar(pool.map(find_matches, queries), total=len(queries), desc="leaks", unit="image", delay=1)
        items = [_describe_match(name, match) for matches in bar for name, match in matches]
    return Finding(
        "leak", where, "training image(s) show a photograph of an evaluation set",
        "remove them from training; otherwise numbers on those sets are invalid", items,
    )  # fmt: skip


def select_usable(reports: Sequence[FileReport]) -> list[FileReport]:
    """Return the images that are large enough for a photograph to be recognized."""
    return [x for x in reports if not x.error and min(x.small.size) >= MIN_SIDE]


def _register_candidates(
    report: FileReport, candidates: Mapping[int, list[WindowMatch]], evaluated: Sequence[FileReport]
) -> list[tuple[int, PhotographMatch]]:
    """Return the candidates (an index into `evaluated`, matches of windows) that do show the same photograph."""
    mirror = ImageOps.mirror(report.small)
    matches = []
    for index, windows in candidates.items():
        fit = register_photographs(report.small, mirror, evaluated[index].small, windows)
        if fit is not None:
            matches.append((index, PhotographMatch(report, evaluated[index], fit)))
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
    box = find_overlap(first.small.size, second.small.size, match.fit.zoom, match.fit.offset)
    unit = second.width / second.small.width
    area = float(np.prod(box[2:] - box[:2]))
    return {
        "share_of_first": min(1.0, area / match.fit.zoom**2 / np.prod(first.small.size)),
        "share_of_second": min(1.0, area / float(np.prod(second.small.size))),
        "crop": [round(float(v) * unit) for v in box],
        "size": first.width / first.small.width / (match.fit.zoom * unit),
        "mirrored": match.fit.mirrored,
        "likeness": round(match.fit.likeness, 3),
    }
