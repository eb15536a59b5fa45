"""LR and HR files that should belong together: which have no partner, which were made by which kernel, which moved."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from tqdm import tqdm

from sr.data.pair import find_hr_name
from sr.image.color import rgb_to_gray
from sr.image.read import read_rgb
from sr.image.resize import imresize
from sr.inspection.defects import FileReport
from sr.inspection.finding import Finding, Report
from sr.inspection.kernels import KERNELS, displacement, score_kernels
from sr.inspection.shift import shift
from sr.inspection.source import TRAINING

FITS = 20 * math.log10(255)  # dB: a mean error of one level


class Made(NamedTuple):
    """What one pair told."""

    lr: Path
    kernels: tuple[str, ...]  # the ones that fit best, all alike; none: no kernel fits
    closest: str  # the nearest one, whether it fits or not
    psnr: float  # dB, infinite: bit for bit
    moved: tuple[float, float] | None  # rows, columns in LR pixels


def matched(
    hr: Sequence[FileReport], lr: Sequence[FileReport], scale: int, where: str, report: Report
) -> list[tuple[FileReport, FileReport]]:
    """Pairs by name (as data=pair does: `x2`, `_x2`, `-x2` at the end may stand or not) of right sizes, (LR, HR)."""
    big = {x.path.stem: x for x in hr}
    small: dict[str, FileReport] = {}
    lonely = []
    for x in lr:
        stem = find_hr_name(x.path.stem, big, scale)
        first = small.setdefault(stem, x)
        if first is not x:
            lonely.append({"file": x.name, "says": f"belongs to the same pair as {first.name}"})
        elif stem not in big:
            lonely.append({"file": x.name, "says": "LR without an HR file of this name"})
    lonely += [{"file": x.name, "says": "HR without an LR file of this name"} for k, x in big.items() if k not in small]
    pairs = [(small[stem], big[stem]) for stem in big if stem in small]
    whole = [(low, high) for low, high in pairs if not low.fault and not high.fault]
    right = [(low, high) for low, high in whole if _expected(high, scale) == (low.width, low.height)]
    wrong = [_wrong_size(low, high, scale) for low, high in whole if _expected(high, scale) != (low.width, low.height)]
    kinds = [
        {"file": low.name, "says": f"{_color(low)}, but {high.name} is {_color(high)}"}
        for low, high in right
        if low.gray != high.gray
    ]
    report.add(Finding("color", where, "pair(s) of a gray and a colour file", "convert one of them", kinds,
                       spoils=where == TRAINING))  # fmt: skip
    report.add(Finding("unmatched", where, "file(s) without a counterpart", "add the other file, or remove it", lonely))
    report.add(Finding("size", where, f"pair(s) whose sizes are not 1:{scale}", "make them again, or give the right scale=…",
                       wrong))  # fmt: skip
    return right


def _color(x: FileReport) -> str:
    return "gray" if x.gray else "colour"


def _expected(high: FileReport, scale: int) -> tuple[int, int]:
    return high.width // scale, high.height // scale


def _wrong_size(low: FileReport, high: FileReport, scale: int) -> dict[str, Any]:
    w, h = _expected(high, scale)
    return {
        "file": low.name,
        "says": f"{low.width}×{low.height}, but {high.name} is {high.width}×{high.height}: {w}×{h} expected",
        "ratio": high.width / low.width,
    }


def examine(
    pairs: Sequence[tuple[FileReport, FileReport]], scale: int, expect: str, where: str, report: Report
) -> None:
    """Kernel and shift of every pair. `expect` names the kernel that should have made LR, or `any`."""
    if not pairs:
        return
    bar = tqdm(pairs, desc=f"pairs of {where}", unit="pair", delay=1)
    made = [_made(low.path, high.path, scale, expect) for low, high in bar]
    report.checked.append(f"{where}: {len(made)} pair(s) at scale {scale}. LR was made by {_summary(made)}")
    if expect != "any":
        for finding in _kernel_findings(made, expect, where):
            report.add(finding)
    report.add(_shift_finding(made, scale, where))


def _made(lr_path: Path, hr_path: Path, scale: int, expect: str) -> Made:
    lr, hr = read_rgb(lr_path), read_rgb(hr_path)
    hr = hr[:, : lr.shape[1] * scale, : lr.shape[2] * scale]
    found = score_kernels(lr, hr, scale, expect)
    closest, best = next(iter(found.items()))
    alike = [name for name, value in found.items() if value == best and best >= FITS]
    alike.sort(key=lambda name: name != expect)
    exact = (displacement(alike[0], scale),) * 2 if best == math.inf else None
    return Made(lr_path, tuple(alike), closest, best, exact or shift(_luma(lr), _luma(imresize(hr, 1 / scale))))


def _luma(image: Tensor) -> np.ndarray:
    return rgb_to_gray(image)[0].numpy()


def _name(kernel: str) -> str:
    return KERNELS[kernel][0]


def _summary(made: Sequence[Made]) -> str:
    """Each kernel once, with the number of its pairs."""
    groups: dict[str, list[Made]] = {}
    for m in made:
        groups.setdefault(m.kernels[0] if m.kernels else "", []).append(m)
    parts = []
    for kernel, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        if not kernel:
            parts.append(
                f"none of the {len(KERNELS)} kernels that are known here ({len(members)} of {len(made)} pairs)"
            )
            continue
        exact = sum(m.psnr == math.inf for m in members)
        how = (
            f"bit for bit in {exact} of {len(made)} pairs"
            if exact
            else f"closest in {len(members)} of {len(made)} pairs"
        )
        parts.append(f"{_name(kernel)} ({how})")
    return "; ".join(parts)


def _kernel_findings(made: Sequence[Made], expect: str, where: str) -> list[Finding]:
    """One finding for each other kernel, one for LR that none made."""
    foreign = [m for m in made if m.kernels and expect not in m.kernels]
    findings = []
    for kernel in dict.fromkeys(m.kernels[0] for m in foreign):
        members = [m for m in foreign if m.kernels[0] == kernel]
        border = kernel == "matlab_replicate" and expect == "matlab"
        also = [_name(k) for k in members[0].kernels[1:]]
        what = f"LR file(s) made by {_name(kernel)}" + (f" (here the same as {', '.join(also)})" if also else "")
        todo = (
            "they differ from today's MATLAB at the border alone; make them again to be sure"
            if border
            else f"numbers on them can't be compared with those on LR of {_name(expect)}: make LR from HR again "
            f"(data=folder does), or say expect={kernel} if it is meant"
        )
        findings.append(Finding("kernel", where, what, todo, [_item(m) for m in members], not border))
    unknown = [_item(m) for m in made if not m.kernels]
    findings.append(
        Finding("kernel", where, "LR file(s) that no known kernel made: blur, noise, JPEG, or another picture",
                "right for data from a camera: say expect=any; otherwise make LR from HR again (data=folder does)", unknown)
    )  # fmt: skip
    return findings


def _item(m: Made) -> dict[str, Any]:
    fit = "bit for bit" if m.psnr == math.inf else f"{m.psnr:.1f} dB"
    says = fit if m.kernels else f"closest is {_name(m.closest)}, {fit}"
    return {
        "file": m.lr.name,
        "says": says,
        "kernels": list(m.kernels),
        "closest": m.closest,
        "psnr": None if m.psnr == math.inf else round(m.psnr, 2),
    }


def _subsampled(m: Made) -> bool:
    return bool(m.kernels) and m.kernels[0].startswith("subsampled")


def _shift_finding(made: Sequence[Made], scale: int, where: str) -> Finding:
    items = []
    for m in made:
        if m.moved is None or m.moved == (0.0, 0.0):
            continue
        dy, dx = m.moved
        says = (
            f"down {dy:+.2f}, right {dx:+.2f} LR pixels ({dy * scale:+.2f}, {dx * scale:+.2f} HR pixels)"
            + (": every s-th pixel was taken, not the mean around it" if _subsampled(m) else "")
        )  # fmt: skip
        items.append({"file": m.lr.name, "says": says, "down": round(dy, 3), "right": round(dx, 3)})
    return Finding(
        "shift", where, "LR picture(s) moved against their HR pictures",
        "a net learns the shift, and PSNR at any border falls; align them, or make LR from HR again", items,
    )  # fmt: skip
