"""What papers published: PSNR and SSIM by net, scale, set and protocol, and why a number may differ from them.

`published.csv` holds the papers' rows with their sources, `bicubic.csv` our own reference for the bicubic baseline,
measured to one digit more than papers print.
"""

import csv
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sr.runtime.error import UserError, suggest_nearest

DIGITS = 0.01  # dB: a published figure is rounded to this
NEAR = 0.04  # share by which a net's parameters may differ from the published count; papers round, and leave biases out


ALIASES = {"rrdbnet": "rrdb", "esrgan": "rrdb"}  # our class, and spandrel's word for it


class Row(NamedTuple):
    """One published result."""

    model: str
    scale: int
    set: str
    psnr: float  # dB
    ssim: float
    protocol: str
    params_k: int  # thousands of parameters
    source: str


@lru_cache
def read_rows() -> tuple[Row, ...]:
    """All published rows."""
    return tuple(
        Row(r["model"], int(r["scale"]), r["set"], float(r["psnr"]), float(r["ssim"]), r["protocol"],
            int(r["params_k"]), r["source"])
        for r in _read("published.csv")
    )  # fmt: skip


@lru_cache
def read_bicubic() -> dict[tuple[str, int, str], tuple[float, float]]:
    """Our reference for bicubic: (set, scale, protocol) -> (PSNR to 0.001 dB, SSIM to 0.0001)."""
    return {
        (r["set"], int(r["scale"]), r["protocol"]): (float(r["psnr"]), float(r["ssim"])) for r in _read("bicubic.csv")
    }


def _read(name: str) -> Iterator[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def find_model(model: str) -> str:
    """The table's spelling of a model's name. Raises when there is none of that name."""
    names = {row.model.lower(): row.model for row in read_rows()}
    if model.lower() not in names:
        known = ", ".join(dict.fromkeys(row.model for row in read_rows()))
        raise UserError(f"published={model}: the tables have {known}.{suggest_nearest(model, names.values())}")
    return names[model.lower()]


def recognize_model(net: str, parameters: int) -> str | None:
    """The published model that a net of this class name and size is: `EDSR` of 1.37 M is `EDSR-baseline`."""
    if not parameters:
        return "bicubic" if net.lower() == "bicubic" else None
    name = ALIASES.get(_plain(net), _plain(net))
    kin = [row for row in read_rows() if row.params_k and _plain(row.model.partition("-")[0]) == name]
    best = min(kin, key=lambda row: abs(parameters / 1000 - row.params_k), default=None)
    near = best is not None and abs(parameters / 1000 - best.params_k) <= max(1, NEAR * best.params_k)
    return best.model if near else None


def find_row(model: str | None, scale: int, set_name: str, protocol: str) -> Row | None:
    """The row of the very same net, scale, set and protocol; nothing else may stand beside ours."""
    return next(
        (r for r in read_rows() if (r.model, r.scale, r.set, r.protocol) == (model, scale, set_name, protocol)), None
    )


def list_other_protocols(model: str, scale: int, set_name: str, protocol: str) -> list[str]:
    """Protocols under which there are such rows, when there is none under this one."""
    found = {r.protocol for r in read_rows() if (r.model, r.scale, r.set) == (model, scale, set_name)}
    return [] if protocol in found else sorted(found)


SIZES = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, "Manga109": 109}  # pictures of the papers' sets


class KnownGap(NamedTuple):
    """A gap that has been seen before."""

    gap: float  # ours - theirs, dB
    sets: str  # pattern of the sets' names
    cause: str


KNOWN = (
    KnownGap(-1.322, ".*", "full-range luma here, BT.601's 16…235 there: 20·log10(219/255) = -1.322 dB exactly"),
    KnownGap(1.322, ".*", "BT.601's luma 16…235 here, full-range luma there: 20·log10(255/219) = 1.322 dB exactly"),
    KnownGap(
        0.09, "Set14", "Set14/bridge, a gray file: read as RGB here (its luma spans 219 levels), as gray there (255)"
    ),
    KnownGap(
        -0.09, "Set14", "Set14/bridge, a gray file: read as gray here (its luma spans 255 levels), as RGB there (219)"
    ),
)


def explain_gap(
    gap: float, set_name: str, alternatives: dict[str, float] | None = None, theirs: float = 0.0
) -> str | None:
    """The likely reason for `gap` = ours - theirs in dB; None within rounding, or when none is known.

    `alternatives` are the means that mistakes of measuring would give here (`sr.metric.protocol_variants`): the one that meets
    the published value `theirs` is named first.
    """
    if abs(gap) <= DIGITS:
        return None
    for text, value in (alternatives or {}).items():
        if abs(value - theirs) <= DIGITS and abs(value - (theirs + gap)) > DIGITS:
            return f"the published figure is met with this mistake: {text}"
    for known in KNOWN:
        if re.fullmatch(known.sets, set_name) and abs(gap - known.gap) <= DIGITS:
            return known.cause
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
