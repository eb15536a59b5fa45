"""The rows of a profile, as evaluate.json holds them: means over runs, and where a net falls below bicubic."""

import statistics
from collections.abc import Sequence
from itertools import groupby
from typing import Any

ProfileRow = dict[str, Any]  # kind, strength, label, psnr, ssim, bicubic_psnr, bicubic_ssim
CLEAN = "clean"  # the kind of the standard LR, with which each profile begins
VALUES = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")


def average_profiles(profiles: Sequence[Sequence[ProfileRow]]) -> list[ProfileRow]:
    """Return the mean of each value over several runs, under the conditions that all of them have."""
    by_label = [{row["label"]: row for row in rows} for rows in profiles]
    shared = [row for row in profiles[0] if all(row["label"] in rows for rows in by_label)] if profiles else []
    return [
        row | {key: statistics.fmean(rows[row["label"]][key] for rows in by_label) for key in VALUES} for row in shared
    ]


def describe_limits(name: str, rows: Sequence[ProfileRow]) -> str:
    """Return a line that says of each kind from which strength on the PSNR is below that of bicubic interpolation."""
    below, above = [], []
    for kind, of_kind in groupby(rows, key=lambda row: row["kind"]):
        labels = [row["label"] for row in of_kind if row["psnr"] < row["bicubic_psnr"]]
        below += labels if kind == "kernel" else labels[:1]  # kernels are in no order
        above += [] if labels or kind == CLEAN else [kind]
    if not below:
        return f"{name}: never below bicubic"
    return f"{name}: falls below bicubic at {', '.join(below)}" + (f"; not with {', '.join(above)}" if above else "")
