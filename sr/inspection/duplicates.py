"""Images that are in one set twice: the same pixels, or the same photograph, re-encoded, resized or mirrored.

They waste training steps and weigh double, but invalidate no number; therefore they are notes. (The images that a source
holds out are a set of their own, and a duplicate there is a leak.)
"""

from collections.abc import Sequence

import imagehash
import numpy as np
from PIL import ImageOps

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.leaks import select_usable
from sr.inspection.register import find_overlap, register_photographs
from sr.inspection.windows import MAX_HASH_DISTANCE, WindowMatch
from sr.runtime.terminal import ProgressBar

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


def find_near_duplicates(reports: Sequence[FileReport], where: str) -> Finding:
    """Find the same photograph re-encoded, resized or mirrored: ImageHash's `phash` selects candidates, pixels decide."""
    by_digest: dict[str, FileReport] = {x.digest: x for x in reversed(select_usable(reports))}
    unique = list(by_digest.values())[::-1]  # exact duplicates are a finding of their own
    hashes = [imagehash.phash(x.small).hash.ravel() for x in unique]
    mirror_hashes = [imagehash.phash(ImageOps.mirror(x.small)).hash.ravel() for x in unique]
    signs = np.array(hashes, dtype=np.float32) * 2 - 1
    items = []
    for k in ProgressBar(range(1, len(unique)), desc=f"duplicates in {where}", unit="image", delay=1):
        for mirrored, own_hash in ((False, hashes[k]), (True, mirror_hashes[k])):
            agreement = signs[:k] @ (own_hash.astype(np.float32) * 2 - 1)
            for j in np.flatnonzero(agreement >= signs.shape[1] - 2 * MAX_HASH_DISTANCE):
                likeness = _compare_photographs(unique[k], unique[j], mirrored)
                if likeness:
                    says = f"the same photograph as {unique[j].name}{', mirrored' * mirrored}; likeness {likeness:.2f}"
                    items.append({"file": unique[k].name, "says": says, "of": unique[j].name, "mirrored": mirrored,
                                  "likeness": round(likeness, 3)})  # fmt: skip
    return Finding(
        "near duplicate", where, "image(s) show the same photograph as another", "leave the best of each pair", items,
        False,
    )  # fmt: skip


def _compare_photographs(a: FileReport, b: FileReport, mirrored: bool) -> float:
    """Return the likeness, 0…1, of two images that show nearly the same part of one photograph, otherwise 0."""
    boxes = (np.array([0.0, 0.0, *x.small.size]) for x in (a, b))
    fit = register_photographs(a.small, ImageOps.mirror(a.small), b.small, [WindowMatch(0, mirrored, *boxes)])
    if fit is None:
        return 0.0
    box = find_overlap(a.small.size, b.small.size, fit.zoom, fit.offset)
    area = float(np.prod(box[2:] - box[:2]))
    common = min(area / np.prod(b.small.size), area / fit.zoom**2 / np.prod(a.small.size))
    return fit.likeness if common >= MIN_COMMON_AREA else 0.0
