"""Training pictures that show the photograph of an evaluation picture, cropped, mirrored, resized or compressed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageOps
from tqdm import tqdm

from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding
from sr.inspection.register import Registration, same_photograph, shared
from sr.inspection.windows import Gallery, Guess, Windows

LEAST = 24  # pixels of the shorter side of the small copy; of less, no photograph can be recognised


class Twin(NamedTuple):
    """Two pictures of one photograph."""

    first: FileReport
    second: FileReport
    fit: Registration


def find_leaks(train: Sequence[FileReport], sets: Mapping[str, Sequence[FileReport]], where: str) -> Finding:
    """Look for every evaluation picture in every training picture and the other way round, with a progress bar."""
    shelf = [(name, x) for name, looks in sets.items() for x in usable(looks)]
    with ThreadPoolExecutor() as pool:
        bar = tqdm(
            pool.map(Windows, (x.small for _, x in shelf)), total=len(shelf), desc="hashing sets", unit="image", delay=1
        )
        gallery = Gallery(list(bar))

        def twins(look: FileReport) -> list[tuple[str, Twin]]:
            found = _twins(look, gallery.guesses(Windows(look.small)), [x for _, x in shelf])
            return [(shelf[index][0], twin) for index, twin in found]

        asked = usable(train)
        bar = tqdm(pool.map(twins, asked), total=len(asked), desc="leaks", unit="image", delay=1)
        items = [_item(name, twin) for found in bar for name, twin in found]
    return Finding(
        "leak", where, "training picture(s) show a photograph of an evaluation set",
        "remove them from training; numbers on those sets are worth nothing otherwise", items,
    )  # fmt: skip


def usable(looks: Sequence[FileReport]) -> list[FileReport]:
    """Those in which a photograph can be recognised at all."""
    return [x for x in looks if not x.fault and min(x.small.size) >= LEAST]


def _twins(
    look: FileReport, guesses: Mapping[int, list[Guess]], others: Sequence[FileReport]
) -> list[tuple[int, Twin]]:
    mirror = ImageOps.mirror(look.small)
    found = []
    for index, chosen in guesses.items():
        fit = same_photograph(look.small, mirror, others[index].small, chosen)
        if fit is not None:
            found.append((index, Twin(look, others[index], fit)))
    return found


def _item(name: str, twin: Twin) -> dict[str, Any]:
    facts = relation(twin)
    mine, theirs = (f"{facts[key]:.0%}" for key in ("share_of_first", "share_of_second"))
    says = f"shows {theirs} of {name}/{twin.second.name}" + (f" (in {mine} of itself)" if mine != "100%" else "")
    says += f", {facts['size']:.2f} times its size" + (", mirrored" if twin.fit.mirrored else "")
    return {
        "file": twin.first.name,
        "says": f"{says}; likeness {twin.fit.likeness:.2f}",
        "set": name,
        "picture": twin.second.name,
        **facts,
    }


def relation(twin: Twin) -> dict[str, Any]:
    """How the first picture was made from the second, or both from one: shares of area, crop in pixels, size, mirrored.

    `size`: pixels of the first for one of the second, along a side. `crop`: left, top, right, bottom in the second.
    """
    first, second = twin.first, twin.second
    box = shared(first.small.size, second.small.size, twin.fit.zoom, twin.fit.offset)
    unit = second.width / second.small.width
    area = float(np.prod(box[2:] - box[:2]))
    return {
        "share_of_first": min(1.0, area / twin.fit.zoom**2 / np.prod(first.small.size)),
        "share_of_second": min(1.0, area / float(np.prod(second.small.size))),
        "crop": [round(float(v) * unit) for v in box],
        "size": first.width / first.small.width / (twin.fit.zoom * unit),
        "mirrored": twin.fit.mirrored,
        "likeness": round(twin.fit.likeness, 3),
    }
