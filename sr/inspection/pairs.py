"""LR and HR files that should belong together: those without a counterpart, the kernel that made LR, and its shift."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from sr.data.matching import find_hr_name
from sr.image.color import rgb_to_gray
from sr.image.levels import round_to_levels, to_unit
from sr.image.read import read_levels
from sr.image.resize import imresize
from sr.inspection.defects import FileReport
from sr.inspection.finding import TRAINING, Finding, Report
from sr.inspection.kernels import KERNELS, compute_displacement, score_kernels
from sr.inspection.known_results import KnownResults
from sr.inspection.shift import measure_shift

KIND = "pairs 1"  # of remembered values: the fields of a `PairReport`
MIN_PSNR = 20 * math.log10(255)  # dB at which a kernel fits: a mean error of one level


class PairReport(NamedTuple):
    """The kernel and the shift of the LR image of one pair."""

    lr: Path
    kernels: tuple[str, ...]  # those that fit best, all equally well; empty: no kernel fits
    closest: str  # the nearest one, whether it fits or not
    psnr: float  # dB; infinite: exactly equal
    shift: tuple[float, float] | None  # rows, columns in LR pixels


def match_pairs(
    hr: Sequence[FileReport], lr: Sequence[FileReport], scale: int, where: str, report: Report
) -> list[tuple[FileReport, FileReport]]:
    """Return the (LR, HR) pairs of right sizes, matched by name as `data=pair` does (with or without `x2`, `_x2`, `-x2` at
    the end), and report the rest."""
    hr_by_stem = {x.path.stem: x for x in hr}
    lr_by_stem: dict[str, FileReport] = {}
    unmatched = []
    for x in lr:
        stem = find_hr_name(x.path.stem, hr_by_stem, scale)
        first = lr_by_stem.setdefault(stem, x)
        if first is not x:
            unmatched.append({"file": x.name, "says": f"belongs to the same pair as {first.name}"})
        elif stem not in hr_by_stem:
            unmatched.append({"file": x.name, "says": "LR without an HR file of this name"})
    unmatched += [
        {"file": x.name, "says": "HR without an LR file of this name"}
        for stem, x in hr_by_stem.items()
        if stem not in lr_by_stem
    ]
    pairs = [(lr_by_stem[stem], hr_by_stem[stem]) for stem in hr_by_stem if stem in lr_by_stem]
    readable = [(low, high) for low, high in pairs if not low.error and not high.error]
    right = [(low, high) for low, high in readable if _expected_size(high, scale) == (low.width, low.height)]
    wrong = [(low, high) for low, high in readable if _expected_size(high, scale) != (low.width, low.height)]
    modes = [
        {"file": low.name, "says": f"{_color_mode(low)}, but {high.name} is {_color_mode(high)}"}
        for low, high in right
        if low.gray != high.gray
    ]
    report.add(Finding("color", where, "pair(s) of a gray and a color file", "convert one of them", modes,
                       is_error=where == TRAINING))  # fmt: skip
    report.add(
        Finding("unmatched", where, "file(s) without a counterpart", "add the other file, or remove it", unmatched)
    )
    report.add(Finding("size", where, f"pair(s) whose sizes are not 1:{scale}", "make them again, or give the right scale=…",
                       [_describe_size(low, high, scale) for low, high in wrong]))  # fmt: skip
    return right


def _color_mode(x: FileReport) -> str:
    return "gray" if x.gray else "color"


def _expected_size(high: FileReport, scale: int) -> tuple[int, int]:
    return high.width // scale, high.height // scale


def _describe_size(low: FileReport, high: FileReport, scale: int) -> dict[str, Any]:
    w, h = _expected_size(high, scale)
    return {
        "file": low.name,
        "says": f"{low.width}×{low.height}, but {high.name} is {high.width}×{high.height}: {w}×{h} expected",
        "ratio": high.width / low.width,
    }


def examine_pairs(
    pairs: Sequence[tuple[FileReport, FileReport]],
    scale: int,
    expect: str,
    where: str,
    report: Report,
    known: KnownResults,
) -> None:
    """Identify the kernel and the shift of every pair. `expect` names the kernel that should have made LR, or `any`."""
    if not pairs:
        return
    examined = known.complete(
        KIND,
        [f"{low.digest} {high.digest} {scale} {expect}" for low, high in pairs],
        lambda k: _examine_pair(pairs[k][0].path, pairs[k][1].path, scale, expect),
        lambda pair: pair._replace(lr=None),
        lambda k, fields: _decode_pair(pairs[k][0].path, *fields[1:]),
        f"pairs of {where}",
        "pair",
    )
    report.checked.append(f"{where}: {len(examined)} pair(s) at scale {scale}. LR was made by {_summarize(examined)}")
    if expect != "any":
        for finding in _find_other_kernels(examined, expect, where):
            report.add(finding)
    report.add(_find_shifts(examined, scale, where))


def _examine_pair(lr_path: Path, hr_path: Path, scale: int, expect: str) -> PairReport:
    lr, hr = (round_to_levels(to_unit(read_levels(path))).expand(3, -1, -1) for path in (lr_path, hr_path))  # 8 bits
    hr = hr[:, : lr.shape[1] * scale, : lr.shape[2] * scale]
    scores = score_kernels(lr, hr, scale, expect)
    closest, best = next(iter(scores.items()))
    kernels = [name for name, value in scores.items() if value == best and best >= MIN_PSNR]
    kernels.sort(key=lambda name: name != expect)
    if best == math.inf:
        shift: tuple[float, float] | None = (compute_displacement(kernels[0], scale),) * 2
    else:
        shift = measure_shift(_to_luma(lr), _to_luma(imresize(hr, 1 / scale)))
    return PairReport(lr_path, tuple(kernels), closest, best, shift)


def _decode_pair(
    lr: Path, kernels: list[str], closest: str, psnr: float, shift: tuple[float, float] | None
) -> PairReport:
    """Return a report from its fields as JSON has them."""
    return PairReport(lr, tuple(kernels), closest, psnr, shift and tuple(shift))


def _to_luma(image: Tensor) -> np.ndarray:
    return rgb_to_gray(image)[0].numpy()


def _kernel_title(kernel: str) -> str:
    return KERNELS[kernel][0]


def _summarize(examined: Sequence[PairReport]) -> str:
    """Name each kernel once, with the number of its pairs."""
    groups: dict[str, list[PairReport]] = {}
    for pair in examined:
        groups.setdefault(pair.kernels[0] if pair.kernels else "", []).append(pair)
    parts = []
    for kernel, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        if not kernel:
            parts.append(f"none of the {len(KERNELS)} known kernels ({len(members)} of {len(examined)} pairs)")
            continue
        exact = sum(pair.psnr == math.inf for pair in members)
        fit = "bit for bit" if exact else "closest"
        parts.append(f"{_kernel_title(kernel)} ({fit} in {exact or len(members)} of {len(examined)} pairs)")
    return "; ".join(parts)


def _find_other_kernels(examined: Sequence[PairReport], expect: str, where: str) -> list[Finding]:
    """Return a finding for each kernel other than `expect`, and one for LR that no known kernel made."""
    other = [pair for pair in examined if pair.kernels and expect not in pair.kernels]
    findings = []
    for kernel in dict.fromkeys(pair.kernels[0] for pair in other):
        members = [pair for pair in other if pair.kernels[0] == kernel]
        is_border_only = kernel == "matlab_replicate" and expect == "matlab"
        also = [_kernel_title(k) for k in members[0].kernels[1:]]
        what = f"LR file(s) made by {_kernel_title(kernel)}" + (
            f" (here the same as {', '.join(also)})" if also else ""
        )
        todo = (
            "they differ from today's MATLAB at the border alone; make them again to be sure"
            if is_border_only
            else f"numbers on them can't be compared with those on LR of {_kernel_title(expect)}: make LR from HR again "
            f"(data=folder does), or set expect={kernel} if it is intended"
        )
        findings.append(
            Finding("kernel", where, what, todo, [_describe_kernel(m) for m in members], not is_border_only)
        )
    unknown = [_describe_kernel(pair) for pair in examined if not pair.kernels]
    findings.append(
        Finding("kernel", where, "LR file(s) that no known kernel made: blur, noise, JPEG, or another image",
                "right for data from a camera: set expect=any; otherwise make LR from HR again (data=folder does)", unknown)
    )  # fmt: skip
    return findings


def _describe_kernel(pair: PairReport) -> dict[str, Any]:
    fit = "bit for bit" if pair.psnr == math.inf else f"{pair.psnr:.1f} dB"
    return {
        "file": pair.lr.name,
        "says": fit if pair.kernels else f"closest is {_kernel_title(pair.closest)}, {fit}",
        "kernels": list(pair.kernels),
        "closest": pair.closest,
        "psnr": None if pair.psnr == math.inf else round(pair.psnr, 2),
    }


def _find_shifts(examined: Sequence[PairReport], scale: int, where: str) -> Finding:
    items = []
    for pair in examined:
        if pair.shift is None or pair.shift == (0.0, 0.0):
            continue
        dy, dx = pair.shift
        says = f"down {dy:+.2f}, right {dx:+.2f} LR pixels ({dy * scale:+.2f}, {dx * scale:+.2f} HR pixels)"
        if pair.kernels and pair.kernels[0].startswith("subsampled"):
            says += ": every s-th pixel was taken, not the mean around it"
        items.append({"file": pair.lr.name, "says": says, "down": round(dy, 3), "right": round(dx, 3)})
    return Finding(
        "shift", where, "LR image(s) shifted against their HR images",
        "a net learns the shift, and PSNR at any border falls; align them, or make LR from HR again", items,
    )  # fmt: skip
