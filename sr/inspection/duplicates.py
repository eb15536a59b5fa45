"""Pictures that lie in one set twice: the same pixels, or the same photograph encoded, resized or mirrored anew.

They waste steps and weigh double, but spoil no number: notes, therefore. (What a source holds out for itself is a set
of its own, and a twin there is a leak.)
"""

from collections.abc import Sequence

import imagehash
import numpy as np
from PIL import ImageOps
from tqdm import tqdm

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.leaks import usable
from sr.inspection.register import same_photograph, shared
from sr.inspection.windows import CLOSE, Guess

WHOLE = 0.8  # share of both pictures that must be common: crops of one photograph are many patches' good right


def find_exact_duplicates(looks: Sequence[FileReport], where: str) -> Finding:
    """Files whose decoded pixels are the same, whatever their format."""
    first: dict[str, FileReport] = {}
    items = []
    for x in looks:
        if not x.fault and first.setdefault(x.digest, x) is not x:
            items.append({"file": x.name, "says": f"the same pixels as {first[x.digest].name}",
                          "of": first[x.digest].name})  # fmt: skip
    return Finding(
        "duplicate", where, "picture(s) are there twice, pixel for pixel", "remove one of each", items, False
    )


def find_near_duplicates(looks: Sequence[FileReport], where: str) -> Finding:
    """The same photograph, re-encoded, resized or mirrored: ImageHash's `phash` sifts, pixels decide."""
    kept: dict[str, FileReport] = {x.digest: x for x in reversed(usable(looks))}
    single = list(kept.values())[::-1]  # exact duplicates have been told already
    upright = [imagehash.phash(x.small).hash.ravel() for x in single]
    mirror = [imagehash.phash(ImageOps.mirror(x.small)).hash.ravel() for x in single]
    bits = np.array(upright, dtype=np.float32) * 2 - 1
    items = []
    for k in tqdm(range(1, len(single)), desc=f"duplicates in {where}", unit="image", delay=1):
        for mirrored, own in ((False, upright[k]), (True, mirror[k])):
            agreement = bits[:k] @ (own.astype(np.float32) * 2 - 1)
            for j in np.flatnonzero(agreement >= bits.shape[1] - 2 * CLOSE):
                likeness = _alike(single[k], single[j], mirrored)
                if likeness:
                    says = f"the same photograph as {single[j].name}{', mirrored' * mirrored}; likeness {likeness:.2f}"
                    items.append({"file": single[k].name, "says": says, "of": single[j].name, "mirrored": mirrored,
                                  "likeness": round(likeness, 3)})  # fmt: skip
    return Finding(
        "near duplicate", where, "picture(s) show a photograph that is there already", "keep the best one", items, False
    )


def _alike(a: FileReport, b: FileReport, mirrored: bool) -> float:
    """Likeness 0…1 where both show nearly the same part of one photograph, otherwise 0."""
    boxes = (np.array([0.0, 0.0, *x.small.size]) for x in (a, b))
    fit = same_photograph(a.small, ImageOps.mirror(a.small), b.small, [Guess(0, mirrored, *boxes)])
    if fit is None:
        return 0.0
    box = shared(a.small.size, b.small.size, fit.zoom, fit.offset)
    area = float(np.prod(box[2:] - box[:2]))
    whole = min(area / np.prod(b.small.size), area / fit.zoom**2 / np.prod(a.small.size)) >= WHOLE
    return fit.likeness if whole else 0.0
