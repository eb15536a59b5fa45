"""Images that are in one set twice: the same pixels, or the same photograph, re-encoded, resized or mirrored.

They waste training steps and weigh double, but invalidate no number; therefore they are notes. (The images that a source
holds out are a set of their own, and a duplicate there is a leak.)
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import ImageOps

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.known_results import KnownResults
from sr.inspection.leaks import select_usable
from sr.inspection.register import find_overlap, register_photographs
from sr.inspection.windows import MAX_HASH_DISTANCE, WindowMatch

KIND = "near duplicates 1"  # of remembered values: the likeness of two images
# The fraction of both images that must be common. Less is no duplicate: crops of one photograph are legitimate patches.
MIN_COMMON_AREA = 0.8


def find_exact_duplicates(reports: Sequence[FileReport], where: str) -> Finding:
    """Find files whose decoded pixels are the same, whatever their format."""
    first: dict[str, FileReport] = {}
    items = []
    for x in reports:
        if not x.error and first.setdefault(x.digest, x) is not x:
            items.append({"file": x.name, "says": f"the same pixels as {first[x.digest].name}",
                          "of": first[x.digest].name})  # fmt: skip
    return Finding(
        "duplicate", where, "image(s) have the same pixels as another", "remove one of each pair", items, False
    )


def find_near_duplicates(reports: Sequence[FileReport], where: str, known: KnownResults) -> Finding:
    """Find the same photograph re-encoded, resized or mirrored: ImageHash's `phash` selects candidates, pixels decide."""
    by_digest: dict[str, FileReport] = {x.digest: x for x in reversed(select_usable(reports))}
    unique = list(by_digest.values())[::-1]  # exact duplicates are a finding of their own
    pairs = [(unique[k], unique[j], mirrored) for k, j, mirrored in _find_similar_hashes([x.hashes for x in unique])]
    found = known.complete(
        KIND,
        [f"{a.digest} {b.digest} {mirrored}" for a, b, mirrored in pairs],
        lambda k: _compare_photographs(*pairs[k]),
        lambda likeness: likeness,
        lambda k, likeness: likeness,
        f"duplicates in {where}",
        "pair",
    )
    items = []
    for (a, b, mirrored), likeness in zip(pairs, found, strict=True):
        if likeness:
            says = f"the same photograph as {b.name}{', mirrored' * mirrored}; likeness {likeness:.2f}"
            items.append({"file": a.name, "says": says, "of": b.name, "mirrored": mirrored,
                          "likeness": round(likeness, 3)})  # fmt: skip
    return Finding(
        "near duplicate", where, "image(s) show the same photograph as another", "leave the best of each pair", items,
        False,
    )  # fmt: skip


def _find_similar_hashes(hashes: Sequence[str]) -> Iterator[tuple[int, int, bool]]:
    """Yield (image, earlier image, whether the first is mirrored) for each pair that few signs distinguish."""
    if not hashes:
        return
    bits = np.unpackbits(np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)).reshape(len(hashes), 2, -1)
    signs = np.where(bits, np.float32(1), np.float32(-1))
    for k in range(1, len(signs)):
        agreement = signs[k] @ signs[:k, 0].T  # of ±1: 64 − 2·distance
        for mirrored, j in np.argwhere(agreement >= signs.shape[-1] - 2 * MAX_HASH_DISTANCE).tolist():
            yield k, j, bool(mirrored)


def _compare_photographs(a: FileReport, b: FileReport, mirrored: bool) -> float:
    """Return the likeness, 0…1, of two images that show nearly the same part of one photograph, otherwise 0."""
    boxes = (np.array([0.0, 0.0, *x.small_size]) for x in (a, b))
    fit = register_photographs(a.small, ImageOps.mirror(a.small), b.small, [WindowMatch(0, mirrored, *boxes)])
    if fit is None:
        return 0.0
    box = find_overlap(a.small_size, b.small_size, fit.zoom, fit.offset)
    area = float(np.prod(box[2:] - box[:2]))
    common = min(area / np.prod(b.small_size), area / fit.zoom**2 / np.prod(a.small_size))
    return fit.likeness if common >= MIN_COMMON_AREA else 0.0
