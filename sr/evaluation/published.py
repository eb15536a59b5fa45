"""Published results: PSNR and SSIM by net, scale, set and protocol, and known reasons why a number differs from them.

`published.csv` holds the rows of the papers with their sources, `bicubic.csv` our own reference for the bicubic baseline,
with one more digit than papers print.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sr.runtime.error import UserError, suggest_nearest

ROUNDING = 0.01  # dB: published values are rounded to this
MAX_PARAMETER_DEVIATION = 0.04  # of the published count, as a share: papers round it, and leave biases out
NET_ALIASES = {"rrdbnet": "rrdb", "esrgan": "rrdb"}  # the name of our class, and spandrel's name for it
SET_SIZES = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, "Manga109": 109}  # images of the papers' sets


class PublishedRow(NamedTuple):
    """One published result."""

    model: str
    scale: int
    set: str
    psnr: float  # dB
    ssim: float
    protocol: str
    params_k: int  # thousands of parameters
    source: str


class KnownDeviation(NamedTuple):
    """A difference from published values that is known to have one cause."""

    difference: float  # measured - published, dB
    sets: str  # regular expression for the names of the sets
    cause: str


KNOWN_DEVIATIONS = (
    KnownDeviation(
        -1.322, ".*", "full-range luma here, BT.601's 16…235 in the paper: 20·log10(219/255) = -1.322 dB exactly"
    ),
    KnownDeviation(
        1.322, ".*", "BT.601's luma 16…235 here, full-range luma in the paper: 20·log10(255/219) = 1.322 dB exactly"
    ),
    KnownDeviation(
        0.09, "Set14", "Set14/bridge, a gray file: read as RGB here (luma of 219 levels), as gray in the paper (255)"
    ),
    KnownDeviation(
        -0.09, "Set14", "Set14/bridge, a gray file: read as gray here (luma of 255 levels), as RGB in the paper (219)"
    ),
)


@lru_cache
def read_rows() -> tuple[PublishedRow, ...]:
    """Return all published rows."""
    return tuple(
        PublishedRow(r["model"], int(r["scale"]), r["set"], float(r["psnr"]), float(r["ssim"]), r["protocol"],
                     int(r["params_k"]), r["source"])
        for r in _read_csv("published.csv")
    )  # fmt: skip


@lru_cache
def read_bicubic() -> dict[tuple[str, int, str], tuple[float, float]]:
    """Return our reference for bicubic: (set, scale, protocol) -> (PSNR to 0.001 dB, SSIM to 0.0001)."""
    return {
        (r["set"], int(r["scale"]), r["protocol"]): (float(r["psnr"]), float(r["ssim"]))
        for r in _read_csv("bicubic.csv")
    }


def find_model(model: str) -> str:
    """Return the published spelling of a model's name; raise if there is no model of that name."""
    names = {row.model.lower(): row.model for row in read_rows()}
    if model.lower() not in names:
        known = ", ".join(dict.fromkeys(row.model for row in read_rows()))
        raise UserError(f"published={model}: expected one of {known}.{suggest_nearest(model, names.values())}")
    return names[model.lower()]


def recognize_model(net: str, parameters: int) -> str | None:
    """Return the published model with this class name and size: `EDSR` with 1.37 M parameters is `EDSR-baseline`."""
    if not parameters:
        return "bicubic" if net.lower() == "bicubic" else None
    name = NET_ALIASES.get(_normalize_name(net), _normalize_name(net))
    rows = [row for row in read_rows() if row.params_k and _normalize_name(row.model.partition("-")[0]) == name]
    nearest = min(rows, key=lambda row: abs(parameters / 1000 - row.params_k), default=None)
    if nearest is None:
        return None
    deviation = abs(parameters / 1000 - nearest.params_k)
    return nearest.model if deviation <= max(1, MAX_PARAMETER_DEVIATION * nearest.params_k) else None


def find_row(model: str | None, scale: int, set_name: str, protocol: str) -> PublishedRow | None:
    """Return the row of exactly this net, scale, set and protocol: no other may be compared."""
    return next(
        (r for r in read_rows() if (r.model, r.scale, r.set, r.protocol) == (model, scale, set_name, protocol)), None
    )


def list_other_protocols(model: str, scale: int, set_name: str, protocol: str) -> list[str]:
    """Return the protocols of the published rows of a net, if there is no row under this protocol."""
    protocols = {r.protocol for r in read_rows() if (r.model, r.scale, r.set) == (model, scale, set_name)}
    return [] if protocol in protocols else sorted(protocols)


def explain_difference(
    difference: float, set_name: str, variants: Mapping[str, float] | None = None, published: float = 0.0
) -> str | None:
    """Return the likely cause of `difference` = measured - published PSNR in dB; None within rounding, or if unknown.

    `variants` are the means under deviations from the protocol (`sr.metric.protocol_variants`): the first one that gives
    the `published` value is the cause.
    """
    if abs(difference) <= ROUNDING:
        return None
    for description, value in (variants or {}).items():
        if abs(value - published) <= ROUNDING and abs(value - (published + difference)) > ROUNDING:
            return f"the published value is obtained with this deviation from the protocol: {description}"
    for known in KNOWN_DEVIATIONS:
        if re.fullmatch(known.sets, set_name) and abs(difference - known.difference) <= ROUNDING:
            return known.cause
    return None


def _read_csv(name: str) -> Iterator[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _normalize_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
